//! A socket by the rules of the kernel, what happens to it, and how its calls go.

use std::collections::VecDeque;

use super::*;

/// What happens to the socket from outside.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Arrives(Vec<u8>),
    /// The peer's FIN; it sends no more.
    Fin,
    /// An out-of-band mark behind what has arrived: a read stops at it.
    Mark,
    /// The peer reads: so much more can be written.
    Room(usize),
    /// An event although nothing has changed (case L2).
    Spurious,
    /// This side ends the stream.
    Finish,
}

/// How a system call goes, apart from what the socket has and has room for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Quirk {
    Plain,
    Interrupted,
    /// A write takes no more than this. (A read is short only for want of data, or at a mark.)
    AtMost(usize),
    /// The next thing happens just before the call, and its event comes after the slice.
    Overtaken,
    /// There is no such call, if it is a splice (case S16).
    Refused,
    /// It would block although it need not, and an event tells otherwise (case L2).
    Blocks,
    /// It fails for good (case S6), but for a write of 0 which takes nothing (case S8).
    Fails(i32),
}

/// The socket. It gives an edge only for what the mover has been told is not there: one that
/// stops without having been told so is told nothing more, and stalls.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) happenings: VecDeque<Happening>,
    pub(super) quirks: VecDeque<Quirk>,
    pub(super) queued: VecDeque<u8>,
    pub(super) fin: bool,
    /// How many bytes into the queue the mark is.
    pub(super) mark: Option<usize>,
    pub(super) room: usize,
    /// The edges to come.
    pub(super) edges: Readiness,
    /// Whether the mover was told, and by no edge since untold, that nothing can be read.
    pub(super) is_read_armed: bool,
    pub(super) is_write_armed: bool,
    pub(super) finish_asked: bool,
    pub(super) input: Vec<u8>,
    /// Bytes taken in, and those of them after this side's FIN.
    pub(super) consumed: usize,
    pub(super) discarded: usize,
    /// Bytes of the answers to what was taken in.
    pub(super) due: usize,
    pub(super) reply: Reply,
    /// What a call has failed with.
    pub(super) failure: Option<i32>,
    pub(super) output: Vec<u8>,
    pub(super) scratch_bytes: usize,
    /// After this side's FIN: input is thrown away.
    pub(super) lingers: bool,
    /// How a stream begins: whether it may be spliced, and whether it is in bulk.
    pub(super) splices: bool,
    pub(super) starts_in_bulk: bool,
    pub(super) in_pipe: usize,
    /// Other streams are owed so much that this one may be owed nothing.
    pub(super) is_owed_too_much: bool,
    /// Bytes that were seen and must be read.
    pub(super) peeked: usize,
}

impl Model {
    pub(super) fn happen(&mut self) -> bool {
        let Some(happening) = self.happenings.pop_front() else { return false };
        match happening {
            Happening::Arrives(bytes) if !self.fin => {
                self.input.extend(&bytes);
                self.queued.extend(&bytes);
                if std::mem::take(&mut self.is_read_armed) {
                    self.edges.merge(Readiness::READABLE);
                    // As tcp(7) tells of every event until a read has passed the mark.
                    if self.mark.is_some() {
                        self.edges.merge(Readiness::URGENT);
                    }
                }
            }
            Happening::Fin => {
                self.fin = true;
                self.edges.merge(Readiness::READABLE);
                self.edges.merge(Readiness::READ_CLOSED);
            }
            Happening::Mark if !self.fin => {
                self.mark = Some(self.queued.len());
                self.edges.merge(Readiness::READABLE);
                self.edges.merge(Readiness::URGENT);
            }
            Happening::Room(bytes) => {
                self.room += bytes;
                if std::mem::take(&mut self.is_write_armed) {
                    self.edges.merge(Readiness::WRITABLE);
                }
            }
            Happening::Spurious => {
                self.edges.merge(Readiness::READABLE);
                self.edges.merge(Readiness::WRITABLE);
            }
            Happening::Finish => self.finish_asked = true,
            Happening::Arrives(_) | Happening::Mark => {}
        }
        true
    }

    /// The quirk of a call that is no interruption.
    fn quirk(&mut self, reads: bool) -> io::Result<Quirk> {
        assert_eq!(self.failure, None, "a call after one that failed");
        let quirk = self.quirks.pop_front().unwrap_or(Quirk::Plain);
        match quirk {
            Quirk::Interrupted => return Err(ErrorKind::Interrupted.into()),
            Quirk::Overtaken => drop(self.happen()),
            Quirk::Blocks => {
                self.edges.merge(if reads { Readiness::READABLE } else { Readiness::WRITABLE });
                // An event tells of all that is so.
                if self.mark.is_some() {
                    self.edges.merge(Readiness::URGENT);
                }
                if self.fin {
                    self.edges.merge(Readiness::READ_CLOSED);
                }
                return Err(ErrorKind::WouldBlock.into());
            }
            // A read of nothing would be a FIN.
            Quirk::Fails(0) if reads => {}
            Quirk::Fails(number) => {
                self.failure = Some(number);
                if number > 0 {
                    return Err(io::Error::from_raw_os_error(number));
                }
            }
            Quirk::Plain | Quirk::AtMost(_) | Quirk::Refused => {}
        }
        Ok(quirk)
    }
}

impl Model {
    /// Bytes have left the queue.
    fn take(&mut self, count: usize) {
        self.consumed += count;
        self.mark = self.mark.and_then(|bytes| bytes.checked_sub(count));
        self.due += match &self.reply {
            _ if self.lingers => 0,
            Reply::Echo => count,
            Reply::Text(text) => text.len(),
            Reply::Nothing => 0,
        };
        self.discarded += if self.lingers { count } else { 0 };
    }
}

impl Read for Model {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.peeked > 0 && self.output.len() > self.due {
            return Ok(self.read_peeked(buf));
        }
        if !self.lingers {
            assert_eq!(self.output.len(), self.due, "a stream that owes does not read");
        }
        let is_echo = matches!(self.reply, Reply::Echo);
        assert!(self.lingers || !is_echo || !self.is_owed_too_much, "it may be owed nothing");
        self.quirk(true)?;
        let before_mark = self.mark.filter(|bytes| *bytes > 0).unwrap_or(usize::MAX);
        let count = buf.len().min(self.queued.len()).min(before_mark);
        if count == 0 {
            if self.fin {
                return Ok(0);
            }
            self.is_read_armed = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        for (to, from) in buf.iter_mut().zip(self.queued.drain(..count)) {
            *to = from;
        }
        self.take(count);
        if count < buf.len() && self.queued.is_empty() {
            self.is_read_armed = true;
        }
        Ok(count)
    }
}

impl Model {
    /// What was seen is there, and only what was sent is taken.
    fn read_peeked(&mut self, buf: &mut [u8]) -> usize {
        assert!(buf.len() <= self.output.len() - self.due, "it is taken before it is sent");
        let count = buf.len().min(self.peeked);
        for (to, from) in buf.iter_mut().zip(self.queued.drain(..count)) {
            *to = from;
        }
        self.take(count);
        self.peeked = 0;
        count
    }
}

impl Peek for Model {
    const CAN_PEEK: bool = true;

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        assert!(self.is_owed_too_much && !self.lingers, "there is no need to peek");
        assert_eq!(self.output.len(), self.due, "a stream that owes does not look");
        self.peeked = 0;
        self.quirk(true)?;
        let before_mark = self.mark.filter(|bytes| *bytes > 0).unwrap_or(usize::MAX);
        let count = buf.len().min(self.queued.len()).min(before_mark);
        if count == 0 {
            if self.fin {
                return Ok(0);
            }
            self.is_read_armed = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        for (to, from) in buf.iter_mut().zip(&self.queued) {
            *to = *from;
        }
        self.peeked = count;
        Ok(count)
    }
}

impl Write for Model {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        assert!(!self.lingers, "nothing follows a FIN");
        assert!(!buf.is_empty(), "a write of nothing");
        let at_most = match self.quirk(false)? {
            Quirk::AtMost(count) => count,
            Quirk::Fails(_) => return Ok(0),
            _ => usize::MAX,
        };
        if self.room == 0 {
            self.is_write_armed = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = buf.len().min(self.room).min(at_most);
        self.room -= count;
        self.output.extend_from_slice(&buf[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        panic!("a socket has nothing to flush")
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Splice for Model {
    fn splice_in(&mut self, pipe: &crate::socket::Pipe, bytes_max: usize) -> io::Result<usize> {
        assert!(self.splices && !self.lingers);
        assert_eq!(self.output.len(), self.due, "a stream that owes takes nothing in");
        let at_most = match self.quirk(true)? {
            Quirk::Refused => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
            // Its pieces may be small, and the pipe's slots few.
            Quirk::AtMost(count) => count,
            _ => usize::MAX,
        };
        let before_mark = self.mark.unwrap_or(usize::MAX);
        let count = bytes_max.min(self.queued.len()).min(before_mark).min(at_most);
        if count == 0 {
            let is_over = self.fin && self.queued.is_empty();
            if is_over {
                return Ok(0);
            }
            self.is_read_armed = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let bytes: Vec<u8> = self.queued.drain(..count).collect();
        pipe.write_all(&bytes)?;
        self.take(count);
        self.in_pipe = count;
        Ok(count)
    }

    fn splice_out(&mut self, pipe: &crate::socket::Pipe, bytes: usize) -> io::Result<usize> {
        assert!(!self.lingers, "nothing follows a FIN");
        assert_eq!(bytes, self.in_pipe, "all that the pipe holds is offered");
        let at_most = match self.quirk(false)? {
            Quirk::Refused => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
            Quirk::AtMost(count) => count,
            Quirk::Fails(_) => return Ok(0),
            _ => usize::MAX,
        };
        if self.room == 0 {
            self.is_write_armed = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = bytes.min(self.room).min(at_most);
        let start = self.output.len();
        self.output.resize(start + count, 0);
        pipe.read_exact(&mut self.output[start..])?;
        self.room -= count;
        self.in_pipe -= count;
        Ok(count)
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (1..40_u8, any::<u8>()).prop_map(|(count, first)| {
            // Bytes that tell their order, and cost less than a strategy each.
            Happening::Arrives((0..count).map(|at| first.wrapping_add(at)).collect())
        }),
        6 => (1..40_usize).prop_map(Happening::Room),
        1 => Just(Happening::Mark),
        1 => Just(Happening::Spurious),
    ]
}

/// How a call goes that does not fail for good.
fn quirk() -> impl Strategy<Value = Quirk> {
    prop_oneof![
        4 => Just(Quirk::Plain),
        1 => Just(Quirk::Interrupted),
        2 => (1..12_usize).prop_map(Quirk::AtMost),
        2 => Just(Quirk::Overtaken),
        1 => Just(Quirk::Refused),
        1 => Just(Quirk::Blocks),
    ]
}

pub(super) fn model(end: impl Strategy<Value = Option<Happening>>) -> impl Strategy<Value = Model> {
    let end = (end, any::<prop::sample::Index>());
    let splicing = (any::<bool>(), any::<bool>(), any::<bool>());
    let lists = (vec(happening(), 0..60), vec(quirk(), 0..120));
    let parts = (lists, 1..17_usize, 0..20_usize, end, splicing);
    parts.prop_map(|((mut happenings, quirks), scratch_bytes, room, (end, at), splicing)| {
        let is_owed_too_much = splicing.2;
        if let Some(end) = end {
            happenings.insert(at.index(happenings.len() + 1), end);
        }
        Model {
            happenings: happenings.into(),
            quirks: quirks.into(),
            queued: VecDeque::new(),
            fin: false,
            mark: None,
            room,
            edges: if room > 0 { Readiness::WRITABLE } else { Readiness::NONE },
            is_read_armed: true,
            is_write_armed: room == 0,
            finish_asked: false,
            input: Vec::new(),
            consumed: 0,
            discarded: 0,
            due: 0,
            reply: Reply::Echo,
            failure: None,
            output: Vec::new(),
            scratch_bytes,
            lingers: false,
            splices: splicing.0,
            starts_in_bulk: splicing.1,
            in_pipe: 0,
            is_owed_too_much,
            peeked: 0,
        }
    })
}
