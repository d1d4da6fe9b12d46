//! A batch whose datagrams and failures are scripted, and what a slice needs besides.

use std::cell::RefCell;
use std::collections::HashMap;

use super::*;
use crate::socket::batch::{self, SendBufUse};

/// One datagram to be received.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    pub(super) peer: SockAddr,
    pub(super) bytes: Vec<u8>,
    /// Less than these bytes, if it is a train.
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

/// What happens to the next answer that is tried.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Sent,
    Fails(i32),
    /// The call ends before it, having sent the others. (Nothing, when it is the first.)
    Stops,
}

/// A send buffer as of Linux's Unix datagrams.
#[derive(Debug, Default)]
pub(super) struct SendBuf {
    pub(super) size_bytes: usize,
    /// Peers that do not read.
    pub(super) deaf: Vec<SockAddr>,
    pub(super) unread_by_deaf_bytes: usize,
    /// By the others, until the driver of the test has them read.
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

/// A socket with the send buffer that answers fill until they are read; without one, any number of
/// answers has room.
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

/// Behaves as a socket by the contract of [`Batch`], and by its script otherwise.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) arrivals: VecDeque<Arrival>,
    /// At its end, every answer is sent.
    pub(super) outcomes: VecDeque<Outcome>,
    /// How many more answers a peer has room for; for those not named, any number.
    pub(super) rooms: HashMap<SockAddr, usize>,
    /// The socket itself has no room.
    pub(super) is_blocked: bool,
    /// Panic at a receive before all answers are sent or given up.
    pub(super) is_strict: bool,
    pub(super) overflow: Option<u32>,
    /// There is no memory for answers that are kept.
    pub(super) has_no_memory: bool,
    /// Each datagram of each train.
    pub(super) sent: Vec<(SockAddr, Vec<u8>)>,
    /// Calls of `receive`.
    pub(super) receives: usize,
    /// Calls of `send`.
    pub(super) sends: usize,
    /// Answers tried, by `send` and `send_parcel`.
    pub(super) attempts: usize,
    /// A receive has ended with `WouldBlock`, and the driver of the test has not unset this.
    pub(super) is_drained: bool,
    /// An answer has met `WouldBlock`; as above.
    pub(super) has_blocked: bool,
    received: Vec<Incoming>,
    /// Trains, and what they answer.
    line: Vec<Train>,
    members: Vec<Vec<usize>>,
    queued: usize,
    settled: usize,
}

impl Script {
    pub(super) const SLOTS: usize = 4;

    pub(super) fn arrive(&mut self, datagram: Incoming) {
        self.arrivals.push_back(Arrival::Datagram(datagram));
    }

    pub(super) fn fail_receives(&mut self, number: i32, times: usize) {
        self.arrivals.extend(vec![Arrival::Fails(number); times]);
    }

    /// The answers to these as one.
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
                self.settled += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.has_blocked = true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A train is tried again, datagram by datagram.
            Err(_) => self.settled += usize::from(count == 1),
        }
        result
    }
}

impl Batch for Script {
    type Socket = ScriptSocket;

    fn receive(&mut self, _: &ScriptSocket, limit: usize) -> io::Result<usize> {
        assert!(limit > 0, "a receive of nothing");
        assert!(self.line.is_empty(), "answers are forgotten: {:?}", self.line);
        assert!(!self.is_strict || self.queued == self.settled, "received while answers wait");
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
        assert_eq!(to, None, "scripts run without reply_paths");
        assert!(!self.members.iter().flatten().any(|queued| *queued == index), "answered twice");
        self.queued += self.message(index).count();
        let Incoming { peer, bytes, segment_bytes, .. } = &self.received[index];
        let single = Train::of(index, bytes.len(), *segment_bytes);
        if let (Some(train), Some(members)) = (self.line.last_mut(), self.members.last_mut()) {
            let last = &self.received[members[members.len() - 1]];
            // Those that came as trains leave as they came.
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
        self.line.push(single);
        self.members.push(vec![index]);
    }

    fn queued(&self) -> &[Train] {
        &self.line
    }

    fn parcel(&self) -> Option<Parcel> {
        (!self.has_no_memory).then(|| self.gather(&self.members[0]))
    }

    fn send(&mut self, socket: &ScriptSocket, limit: usize) -> io::Result<usize> {
        assert!((1..=self.line.len()).contains(&limit), "a send of {limit}");
        self.sends += 1;
        for nth in 0..limit {
            let next = self.outcomes.front().copied();
            if matches!(next, Some(Outcome::Stops)) {
                self.outcomes.pop_front();
                if nth > 0 {
                    return Ok(nth);
                }
            }
            // What cannot go is met again at the front of the next call.
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
        self.line.drain(..count);
        self.members.drain(..count);
    }

    fn send_parcel(&mut self, socket: &ScriptSocket, parcel: &Parcel) -> io::Result<()> {
        self.attempt(socket, parcel)
    }
}

/// One datagram socket with all that a slice of it needs.
pub(super) struct Scene {
    pub(super) mover: PacketMover,
    pub(super) batch: Script,
    pub(super) socket: ScriptSocket,
    pub(super) readiness: Readiness,
    pub(super) receive_limit: usize,
    pub(super) answers: bool,
    pub(super) stall_timeout: Duration,
    pub(super) counters: TransportCounters,
    pub(super) now: Instant,
    pub(super) heard: Vec<String>,
}

impl Scene {
    /// A UDP socket that has just been told readable, with these datagrams from one peer.
    pub(super) fn of_udp(datagrams: &[&[u8]]) -> Scene {
        let mut scene = Scene::new(PacketMover::held_by_socket(0, TrainLimit::NONE));
        for bytes in datagrams {
            scene.batch.arrive(from(udp(1), bytes));
        }
        scene
    }

    pub(super) fn of_unix() -> Scene {
        Scene::new(PacketMover::held_by_peer())
    }

    fn new(mover: PacketMover) -> Scene {
        Scene {
            mover,
            batch: Script::default(),
            socket: ScriptSocket::default(),
            readiness: Readiness::READABLE,
            receive_limit: usize::MAX,
            answers: true,
            stall_timeout: Duration::from_secs(30),
            counters: TransportCounters::default(),
            now: Instant::now(),
            heard: Vec::new(),
        }
    }

    pub(super) fn slice(&mut self) -> Next {
        let mut work = PacketWork {
            limited_reply_bytes: None,
            reply_paths: None,
            receive_limit: self.receive_limit,
            answers: self.answers,
            guard: None,
            stall_timeout: self.stall_timeout,
            counters: &mut self.counters,
            now: self.now,
        };
        let heard = &mut self.heard;
        let on_message = |message: Message<'_>| {
            heard.push(String::from_utf8_lossy(message.bytes).into_owned());
        };
        self.mover.advance(
            &mut self.batch,
            &self.socket,
            &mut self.readiness,
            &mut work,
            on_message,
        )
    }

    /// What all peers have been sent.
    pub(super) fn sent(&self) -> Vec<&str> {
        self.batch.sent.iter().map(|(_, bytes)| std::str::from_utf8(bytes).unwrap()).collect()
    }
}
