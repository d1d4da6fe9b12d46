//! A datagram socket whose system calls are recorded.

use std::io;

use super::Wire;
use crate::endpoint::ResolvedEndpoint;
use crate::reactor::{CallLog, Calls};

/// A socket, and where its calls are recorded.
pub(in crate::load) struct LoggedWire<'a, W> {
    pub(in crate::load) wire: &'a W,
    pub(in crate::load) log: &'a CallLog,
}

impl<W: Wire> Wire for LoggedWire<'_, W> {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.log.make("sendto", |()| bytes.len(), || self.wire.send(bytes))
    }

    fn send_train(&self, bytes: &[u8], segment_bytes: u16) -> io::Result<()> {
        self.log.make("sendmsg", |()| bytes.len(), || self.wire.send_train(bytes, segment_bytes))
    }

    fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.log.make("recvfrom", |count| *count, || self.wire.receive(buf))
    }

    fn receive_train(&self, buf: &mut [u8]) -> io::Result<(usize, usize)> {
        self.log.make("recvmsg", |(count, _)| *count, || self.wire.receive_train(buf))
    }

    fn reconnect(&self, target: &ResolvedEndpoint) -> io::Result<()> {
        self.log.make("connect", |()| 0, || self.wire.reconnect(target))
    }
}
