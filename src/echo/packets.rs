//! One slice of a datagram socket.

use std::time::Duration;

use super::datagram::{PacketWork, Policy, Receiving};
use super::logged::logged_batch;
use super::observer::Observer;
use super::options::Reply;
use super::source::{Packets, Source};
use super::{Server, TransportCounters};
use crate::endpoint::Transport;
use crate::reactor::{Calls, Next, SourceContext};
use crate::readiness::Readiness;
use crate::socket::Peer;
use crate::socket::batch::Message;

impl<O: Observer> Server<O> {
    pub(super) fn packets_ready<P: Policy, C: Calls>(
        &mut self,
        packets: &mut Packets<P>,
        readiness: &mut Readiness,
        context: &mut SourceContext<'_, Source>,
        calls: C,
    ) -> Next {
        let Packets { socket, mover, is_exposed } = packets;
        let transport = socket.transport();
        let (batch, guard, reply_paths) = match transport {
            Transport::Udp => (&mut self.udp_batch, Some(&self.guard), None),
            _ => (&mut self.unix_batch, None, self.reply_paths.as_mut()),
        };
        let Some(batch) = batch else { return Next::Close };
        if self.stage.is_draining() {
            // A drain answers what is queued, even before the event for it has come.
            readiness.merge(Readiness::READABLE);
        }
        // A one-off server receives one datagram per call: a datagram that is turned away is not
        // the one that it serves.
        let served =
            |counters: &TransportCounters| counters.traffic.messages_in - counters.turned_away();
        let served_before = self.options.one_off.then(|| served(&self.counters[transport]));
        let receiving = match (self.stage.takes_more(), self.options.one_off) {
            (false, _) => Receiving::Nothing,
            (true, true) => Receiving::One,
            (true, false) => Receiving::Batches,
        };
        let may_judge = self.timeouts.may_judge(context.now());
        let stall_timeout = if may_judge { self.options.stall_timeout } else { Duration::MAX };
        let mut work = PacketWork {
            receiving,
            answers: self.options.reply != Reply::Nothing,
            guard,
            limited_reply_bytes: match &self.options.reply {
                Reply::Text(text) if *is_exposed => Some(text.len()),
                _ => None,
            },
            reply_paths,
            stall_timeout,
            counters: &mut self.counters[transport],
            now: context.now(),
        };
        let observer = &mut self.observer;
        let on_message = |message: Message<'_>| {
            if observer.wants_messages() {
                let peer = Peer::from(message.from);
                message.datagrams().for_each(|bytes| observer.message(transport, &peer, bytes));
            }
        };
        let next = match calls.log() {
            None => mover.advance(batch, socket, readiness, &mut work, on_message),
            Some(log) => {
                let mut batch = logged_batch(batch, log);
                mover.advance(&mut batch, socket, readiness, &mut work, on_message)
            }
        };
        if let Some(at) = mover.retry_at() {
            context.wake_at(context.key(), at);
        }
        self.notice_losses(transport);
        if served_before.is_some_and(|before| served(&self.counters[transport]) > before) {
            self.take_one_off(context);
        }
        let one_off_over = !self.stage.takes_more() && mover.held() == 0;
        let is_idle = || next == Next::Wait && mover.held() == 0;
        let drained = self.stage.is_draining() && is_idle() && self.ends_datagrams(context);
        if drained || one_off_over { Next::Close } else { next }
    }

    pub(super) fn packets_closed<P: Policy>(
        &mut self,
        packets: &Packets<P>,
        context: &mut SourceContext<'_, Source>,
    ) {
        let transport = packets.socket.transport();
        packets.count_last_overflow(&mut self.counters[transport]);
        self.noticed[transport] = self.counters[transport];
        self.endpoint_closed(transport, context.key());
    }
}
