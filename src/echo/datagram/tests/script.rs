//! A batch with scripted datagrams and failures, and the rest of what a slice needs.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};

use super::*;
use crate::socket::batch::{self, Parcel, SendBufUse, Train};

/// One datagram or train that the socket receives.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    pub(super) peer: SockAddr,
    pub(super) bytes: Vec<u8>,
    /// Less than the length of `bytes` if this is a train.
    pub(super) segment_bytes: usize,
    pub(super) truncated: bool,
    pub(super) answerable: bool,
}

pub(super) fn from(peer: SockAddr, bytes: &[u8]) -> Incoming {
    let segment_bytes = bytes.len();
    Incoming { peer, bytes: bytes.to_vec(), segment_bytes, truncated: false, answerable: true }
}

pub(super) fn udp(port: u16) -> SockAddr {
    SockAddr::from(SocketAddr::from(([127, 0, 0, 1], port)))
}

#[derive(Clone, Debug)]
pub(super) enum Arrival {
    Datagram(Incoming),
    Fails(i32),
}

/// The result of the next attempt to send a reply.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Sent,
    Fails(i32),
    /// The call sends the replies before this one and ends. No effect on the first reply of a call.
    Stops,
}

/// A send buffer that behaves as Linux's for Unix datagrams.
#[derive(Debug, Default)]
pub(super) struct SendBuf {
    pub(super) size_bytes: usize,
    /// Peers that do not read.
    pub(super) deaf: Vec<SockAddr>,
    pub(super) unread_by_deaf_bytes: usize,
    /// Bytes that the other peers have not read. The test sets it to 0 when they read.
    pub(super) unread_bytes: usize,
}

impl SendBuf {
    fn used_bytes(&self) -> usize {
        self.unread_by_deaf_bytes + self.unread_bytes
    }

    fn charge(&mut self, peer: &SockAddr, bytes: &[u8]) {
        let charged = if self.deaf.contains(peer) {
            &mut self.unread_by_deaf_bytes
        } else {
            &mut self.unread_bytes
        };
        *charged += bytes.len() + 768;
    }
}

/// A socket whose send buffer replies fill until their peers read them. Without a send buffer the
/// socket has room for any number of replies.
#[derive(Debug, Default)]
pub(super) struct ScriptSocket(pub(super) RefCell<Option<SendBuf>>);

impl ScriptSocket {
    pub(super) fn with(send_buf: SendBuf) -> ScriptSocket {
        ScriptSocket(RefCell::new(Some(send_buf)))
    }
}

impl batch::SendBuf for ScriptSocket {
    fn send_buf_use(&self) -> Option<SendBufUse> {
        let buf = self.0.borrow();
        let buf = buf.as_ref()?;
        Some(SendBufUse { used_bytes: buf.used_bytes(), size_bytes: buf.size_bytes })
    }
}

/// A batch and its socket: keeps the contract of [`Batch`] and follows a script.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) arrivals: VecDeque<Arrival>,
    /// The results of the next attempts. After the last of them every reply is sent.
    pub(super) outcomes: VecDeque<Outcome>,
    /// How many more replies a peer has room for. Other peers have room for any number.
    pub(super) rooms: HashMap<SockAddr, usize>,
    /// The socket itself has no room.
    pub(super) is_blocked: bool,
    /// A receive panics if a reply is neither sent nor dropped.
    pub(super) is_strict: bool,
    pub(super) overflow: Option<u32>,
    /// There is no memory to hold replies.
    pub(super) has_no_memory: bool,
    /// Every datagram that was sent, those of trains one by one.
    pub(super) sent: Vec<(SockAddr, Vec<u8>)>,
    /// The number of calls of `receive`.
    pub(super) receives: usize,
    /// The number of calls of `send`.
    pub(super) sends: usize,
    /// The number of trains that `send` and `send_parcel` tried.
    pub(super) attempts: usize,
    /// A receive returned `WouldBlock`. The test resets it.
    pub(super) is_drained: bool,
    /// A send returned `WouldBlock`. The test resets it.
    pub(super) has_blocked: bool,
    received: Vec<Incoming>,
    /// The queue of trains.
    queue: Vec<Train>,
    /// The messages that each train answers.
    members: Vec<Vec<usize>>,
    /// Datagrams whose replies were queued.
    queued_count: usize,
    /// Datagrams whose replies were sent or dropped.
    settled_count: usize,
}

impl Script {
    pub(super) const SLOTS: usize = 4;

    pub(super) fn arrive(&mut self, datagram: Incoming) {
        self.arrivals.push_back(Arrival::Datagram(datagram));
    }

    pub(super) fn fail_receives(&mut self, number: i32, times: usize) {
        self.arrivals.extend(vec![Arrival::Fails(number); times]);
    }

    /// Returns the replies to these messages as one parcel.
    fn gather(&self, indexes: &[usize]) -> Parcel {
        let bytes: Vec<u8> =
            indexes.iter().flat_map(|index| self.received[*index].bytes.clone()).collect();
        let segment_bytes = self.received[indexes[0]].segment_bytes;
        let peer = self.received[indexes[0]].peer.clone();
        Parcel { peer, source: None, bytes: bytes.into(), segment_bytes }
    }

    fn attempt(&mut self, socket: &ScriptSocket, parcel: &Parcel) -> io::Result<()> {
        let (peer, count) = (parcel.peer.clone(), parcel.count());
        let mut send_buf = socket.0.borrow_mut();
        self.attempts += 1;
        let result = match self.outcomes.pop_front() {
            Some(Outcome::Fails(number)) => Err(io::Error::from_raw_os_error(number)),
            _ if send_buf.as_ref().is_some_and(|buf| buf.used_bytes() >= buf.size_bytes) => {
                Err(ErrorKind::WouldBlock.into())
            }
            _ if self.is_blocked || self.rooms.get(&peer) == Some(&0) => {
                Err(ErrorKind::WouldBlock.into())
            }
            _ => Ok(()),
        };
        match &result {
            Ok(()) => {
                if let Some(room) = self.rooms.get_mut(&peer) {
                    *room -= 1;
                }
                if let Some(buf) = &mut *send_buf {
                    buf.charge(&peer, &parcel.bytes);
                }
                for datagram in parcel.take_apart().flatten() {
                    self.sent.push((peer.clone(), datagram.bytes.into()));
                }
                self.settled_count += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.has_blocked = true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The mover tries the datagrams of a train again one by one.
            Err(_) => self.settled_count += usize::from(count == 1),
        }
        result
    }
}

impl Batch for Script {
    type Socket = ScriptSocket;

    fn receive(&mut self, _: &ScriptSocket, limit: usize) -> io::Result<usize> {
        assert!(limit > 0, "the call would receive nothing");
        assert!(self.queue.is_empty(), "replies would be lost: {:?}", self.queue);
        assert!(!self.is_strict || self.queued_count == self.settled_count, "a reply still waits");
        self.receives += 1;
        self.received.clear();
        while self.received.len() < limit.min(Script::SLOTS) {
            match self.arrivals.pop_front() {
                Some(Arrival::Datagram(datagram)) => self.received.push(datagram),
                Some(Arrival::Fails(number)) if self.received.is_empty() => {
                    return Err(io::Error::from_raw_os_error(number));
                }
                Some(failure) => {
                    self.arrivals.push_front(failure);
                    break;
                }
                None => break,
            }
        }
        self.is_drained |= self.received.is_empty();
        if self.received.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(self.received.len())
    }

    fn message(&self, index: usize) -> Message<'_> {
        let incoming = &self.received[index];
        Message {
            from: &incoming.peer,
            to: None,
            bytes: &incoming.bytes,
            segment_bytes: incoming.segment_bytes,
            truncated: incoming.truncated,
            answerable: incoming.answerable,
            to_group: false,
            control_truncated: false,
            overflow: self.overflow,
        }
    }

    fn queue_reply(&mut self, index: usize, to: Option<&SockAddr>, trains: TrainLimit) {
        assert_eq!(to, None, "scripted peers need no reply paths");
        assert!(!self.members.iter().flatten().any(|queued| *queued == index), "a second reply");
        self.queued_count += self.message(index).count();
        let Incoming { peer, bytes, segment_bytes, .. } = &self.received[index];
        let single = Train::of(index, bytes.len(), *segment_bytes);
        if let (Some(train), Some(members)) = (self.queue.last_mut(), self.members.last_mut()) {
            let last = &self.received[members[members.len() - 1]];
            // A received train leaves as the same train.
            let lengths = [last.bytes.len(), last.segment_bytes, *segment_bytes];
            if last.peer == *peer && !bytes.is_empty() && lengths == [bytes.len(); 3] {
                let bytes = train.bytes + bytes.len();
                let joined = Train {
                    parts: train.parts + 1,
                    ..Train::of(train.index, bytes, *segment_bytes)
                };
                if trains.allows(&joined) {
                    *train = joined;
                    members.push(index);
                    return;
                }
            }
        }
        self.queue.push(single);
        self.members.push(vec![index]);
    }

    fn queued(&self) -> &[Train] {
        &self.queue
    }

    fn parcel(&self) -> Option<Parcel> {
        (!self.has_no_memory).then(|| self.gather(&self.members[0]))
    }

    fn send(&mut self, socket: &ScriptSocket, limit: usize) -> io::Result<usize> {
        assert!((1..=self.queue.len()).contains(&limit), "{limit} are not queued");
        self.sends += 1;
        for nth in 0..limit {
            let next = self.outcomes.front().copied();
            if matches!(next, Some(Outcome::Stops)) {
                self.outcomes.pop_front();
                if nth > 0 {
                    return Ok(nth);
                }
            }
            // The next call reports the failure, because it starts with this reply.
            if nth > 0 && matches!(next, Some(Outcome::Fails(_))) {
                return Ok(nth);
            }
            let train = self.gather(&self.members[nth]);
            match self.attempt(socket, &train) {
                Ok(()) => {}
                Err(error) if nth == 0 => return Err(error),
                Err(_) => return Ok(nth),
            }
        }
        Ok(limit)
    }

    fn dequeue(&mut self, count: usize) {
        self.queue.drain(..count);
        self.members.drain(..count);
    }

    fn send_parcel(&mut self, socket: &ScriptSocket, parcel: &Parcel) -> io::Result<()> {
        self.attempt(socket, parcel)
    }
}

/// A datagram socket with everything that a slice of it needs.
pub(super) struct Scene<P> {
    pub(super) mover: PacketMover<P>,
    pub(super) batch: Script,
    pub(super) socket: ScriptSocket,
    pub(super) readiness: Readiness,
    pub(super) receiving: Receiving,
    pub(super) answers: bool,
    pub(super) stall_timeout: Duration,
    pub(super) counters: TransportCounters,
    pub(super) now: Instant,
    /// The messages that the observer saw.
    pub(super) observed: Vec<String>,
}

impl Scene<HeldTrains> {
    /// Returns a readable UDP socket with these datagrams from one peer.
    pub(super) fn of_udp(datagrams: &[&[u8]]) -> Scene<HeldTrains> {
        let mut scene = Scene::new(HeldTrains::new(TrainLimit::NONE));
        for bytes in datagrams {
            scene.batch.arrive(from(udp(1), bytes));
        }
        scene
    }
}

impl Scene<HeldReplies> {
    pub(super) fn of_unix() -> Scene<HeldReplies> {
        Scene::new(HeldReplies::default())
    }
}

impl<P: Policy> Scene<P> {
    fn new(policy: P) -> Scene<P> {
        Scene {
            mover: PacketMover::new(policy, 0),
            batch: Script::default(),
            socket: ScriptSocket::default(),
            readiness: Readiness::READABLE,
            receiving: Receiving::Batches,
            answers: true,
            stall_timeout: Duration::from_secs(30),
            counters: TransportCounters::default(),
            now: Instant::now(),
            observed: Vec::new(),
        }
    }

    pub(super) fn slice(&mut self) -> Next {
        let mut work = PacketWork {
            limited_reply_bytes: None,
            reply_paths: None,
            receiving: self.receiving,
            answers: self.answers,
            guard: None,
            stall_timeout: self.stall_timeout,
            counters: &mut self.counters,
            now: self.now,
        };
        let observed = &mut self.observed;
        let on_message = |message: Message<'_>| {
            observed.push(String::from_utf8_lossy(message.bytes).into_owned());
        };
        self.mover.advance(
            &mut self.batch,
            &self.socket,
            &mut self.readiness,
            &mut work,
            on_message,
        )
    }

    /// Returns the bytes of all datagrams sent, in order.
    pub(super) fn sent(&self) -> Vec<&str> {
        self.batch.sent.iter().map(|(_, bytes)| std::str::from_utf8(bytes).unwrap()).collect()
    }
}
