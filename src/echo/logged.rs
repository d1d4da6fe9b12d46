//! The sockets and batches of a server whose system calls are recorded.

use std::borrow::Borrow;
use std::io;

use socket2::SockAddr;

use crate::reactor::{CallLog, Calls, Logged};
use crate::socket::batch::{Batch, Message, Parcel, Train, TrainLimit};
use crate::socket::{Peek, Pipe, Splice, Stream};

impl Borrow<Stream> for Logged<'_, Stream> {
    fn borrow(&self) -> &Stream {
        self.inner
    }
}

impl Peek for Logged<'_, Stream> {
    const CAN_PEEK: bool = Stream::CAN_PEEK;

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.log.make("recvfrom", |count| *count, || self.inner.peek(buf))
    }
}

impl Splice for Logged<'_, Stream> {
    fn splice_in(&mut self, pipe: &Pipe, bytes_max: usize) -> io::Result<usize> {
        self.log.make("splice", |count| *count, || self.inner.splice_in(pipe, bytes_max))
    }

    fn splice_out(&mut self, pipe: &Pipe, bytes: usize) -> io::Result<usize> {
        self.log.make("splice", |count| *count, || self.inner.splice_out(pipe, bytes))
    }
}

/// Returns a batch whose calls are recorded.
pub(super) fn logged_batch<'a, B: Batch>(inner: &'a mut B, log: &'a CallLog) -> Logged<'a, B> {
    Logged { inner, log, names: (B::RECEIVE, B::SEND) }
}

impl<B: Batch> Batch for Logged<'_, B> {
    type Socket = B::Socket;

    fn receive(&mut self, socket: &B::Socket, limit: usize) -> io::Result<usize> {
        self.log.make(self.names.0, |count| *count, || self.inner.receive(socket, limit))
    }

    fn message(&self, index: usize) -> Message<'_> {
        self.inner.message(index)
    }

    fn queue_reply(&mut self, index: usize, to: Option<&SockAddr>, trains: TrainLimit) {
        self.inner.queue_reply(index, to, trains);
    }

    fn queued(&self) -> &[Train] {
        self.inner.queued()
    }

    fn parcel(&self) -> Option<Parcel> {
        self.inner.parcel()
    }

    fn send(&mut self, socket: &B::Socket, limit: usize) -> io::Result<usize> {
        self.log.make(self.names.1, |count| *count, || self.inner.send(socket, limit))
    }

    fn dequeue(&mut self, count: usize) {
        self.inner.dequeue(count);
    }

    fn send_parcel(&mut self, socket: &B::Socket, parcel: &Parcel) -> io::Result<()> {
        let bytes = parcel.bytes.len();
        self.log.make(B::SEND_PARCEL, |()| bytes, || self.inner.send_parcel(socket, parcel))
    }
}
