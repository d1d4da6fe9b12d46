//! A model of a socket that follows the kernel's rules, its events, and the results of its calls.

use std::collections::VecDeque;

use super::*;

/// An event from outside the socket.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Arrives(Vec<u8>),
    /// The peer sends FIN, and nothing after it.
    Fin,
    /// An out-of-band mark after everything that has arrived. A read stops at it.
    Mark,
    /// The peer reads, so that this many more bytes can be written.
    Room(usize),
    /// An event although nothing has changed (case L2).
    Spurious,
    /// The server ends the stream.
    Finish,
}

/// A deviation of a system call from its plain result.
#[derive(Clone, Copy, Debug)]
pub(super) enum Quirk {
    Plain,
    Interrupted,
    /// A write takes at most this many bytes. (A read is short only at the end of the data, or at a
    /// mark.)
    AtMost(usize),
    /// The next event happens just before the call. The loop sees its edge after the slice.
    Overtaken,
    /// A splice fails because the system does not support it (case S16).
    Refused,
    /// The call returns `WouldBlock` although it could succeed, and an event follows (case L2).
    Blocks,
    /// The call fails with this error (case S6). With 0, a write takes nothing (case S8).
    Fails(i32),
}

/// The model of the socket. It causes an edge only after a call has returned `WouldBlock`. So a
/// mover that waits without having seen `WouldBlock` gets no edge, and stalls.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) happenings: VecDeque<Happening>,
    pub(super) quirks: VecDeque<Quirk>,
    pub(super) queued: VecDeque<u8>,
    pub(super) fin: bool,
    /// How many queued bytes come before the mark.
    pub(super) mark: Option<usize>,
    pub(super) room: usize,
    /// The edges that the loop has yet to see.
    pub(super) edges: Readiness,
    /// A read has found the queue empty, and no edge has come since.
    pub(super) is_read_armed: bool,
    pub(super) is_write_armed: bool,
    pub(super) finish_asked: bool,
    pub(super) input: Vec<u8>,
    /// Bytes that the server has read or spliced.
    pub(super) consumed: usize,
    /// Bytes of `consumed` after the server's FIN.
    pub(super) discarded: usize,
    /// Bytes of the replies to the consumed bytes.
    pub(super) due: usize,
    pub(super) reply: Reply,
    /// The error that a call has returned.
    pub(super) failure: Option<i32>,
    pub(super) output: Vec<u8>,
    pub(super) scratch_bytes: usize,
    /// The server has sent FIN, and discards input.
    pub(super) lingers: bool,
    /// The server may splice.
    pub(super) splices: bool,
    pub(super) starts_in_bulk: bool,
    pub(super) in_pipe: usize,
    /// Other streams have so many unsent bytes that this one may have none.
    pub(super) is_at_unsent_limit: bool,
    /// Bytes that were peeked and must still be read.
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
                    // TCP reports the mark with every event until a read has passed it (tcp(7)).
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

    /// Takes the quirk of the next call. Returns an error if the quirk makes the call fail.
    fn quirk(&mut self, reads: bool) -> io::Result<Quirk> {
        assert_eq!(self.failure, None, "a call after one that failed");
        let quirk = self.quirks.pop_front().unwrap_or(Quirk::Plain);
        match quirk {
            Quirk::Interrupted => return Err(ErrorKind::Interrupted.into()),
            Quirk::Overtaken => drop(self.happen()),
            Quirk::Blocks => {
                self.edges.merge(if reads { Readiness::READABLE } else { Readiness::WRITABLE });
                // An event reports the whole state.
                if self.mark.is_some() {
                    self.edges.merge(Readiness::URGENT);
                }
                if self.fin {
                    self.edges.merge(Readiness::READ_CLOSED);
                }
                return Err(ErrorKind::WouldBlock.into());
            }
            // A read of 0 bytes would mean FIN.
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
    /// Notes that bytes have left the queue.
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
            assert_eq!(self.output.len(), self.due, "a stream with unsent bytes does not read");
        }
        let is_echo = matches!(self.reply, Reply::Echo);
        assert!(self.lingers || !is_echo || !self.is_at_unsent_limit, "it must peek");
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
    /// Reads bytes that were peeked and sent.
    fn read_peeked(&mut self, buf: &mut [u8]) -> usize {
        assert!(buf.len() <= self.output.len() - self.due, "only sent bytes may be read");
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
        assert!(self.is_at_unsent_limit && !self.lingers, "there is no need to peek");
        assert_eq!(self.output.len(), self.due, "a stream with unsent bytes does not peek");
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
        assert_eq!(self.output.len(), self.due, "a stream with unsent bytes does not splice in");
        let at_most = match self.quirk(true)? {
            Quirk::Refused => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
            // A splice may be short, because the pieces may be small and the pipe's slots are few.
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
        assert_eq!(bytes, self.in_pipe, "the mover sends all that the pipe holds");
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
            // The values show the order, and cost less than one strategy per byte.
            Happening::Arrives((0..count).map(|at| first.wrapping_add(at)).collect())
        }),
        6 => (1..40_usize).prop_map(Happening::Room),
        1 => Just(Happening::Mark),
        1 => Just(Happening::Spurious),
    ]
}

/// Generates quirks that do not end a stream.
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
        let is_at_unsent_limit = splicing.2;
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
            is_at_unsent_limit,
            peeked: 0,
        }
    })
}
