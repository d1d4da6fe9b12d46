//! The byte mover against a model of a socket and of edge-triggered events.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What happens to the socket from outside.
#[derive(Clone, Debug)]
enum Happening {
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
enum Quirk {
    Plain,
    Interrupted,
    /// A write takes no more than this. (A read is short only for want of data, or at a mark.)
    AtMost(usize),
    /// The next thing happens just before the call, and its event comes after the slice.
    Overtaken,
    /// There is no such call, if it is a splice (case S16).
    Refused,
}

/// The socket. It gives an edge only for what the mover has been told is not there: one that
/// stops without having been told so is told nothing more, and stalls.
#[derive(Debug)]
struct Model {
    happenings: VecDeque<Happening>,
    quirks: VecDeque<Quirk>,
    queued: VecDeque<u8>,
    fin: bool,
    /// How many bytes into the queue the mark is.
    mark: Option<usize>,
    room: usize,
    /// The edges to come.
    edges: Readiness,
    /// Whether the mover was told, and by no edge since untold, that nothing can be read.
    is_read_armed: bool,
    is_write_armed: bool,
    finish_asked: bool,
    input: Vec<u8>,
    consumed: usize,
    output: Vec<u8>,
    scratch_bytes: usize,
    /// After this side's FIN: input is thrown away.
    lingers: bool,
    /// How a stream begins: whether it may be spliced, and whether it is in bulk.
    splices: bool,
    starts_in_bulk: bool,
    in_pipe: usize,
}

impl Model {
    fn happen(&mut self) -> bool {
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
    fn quirk(&mut self) -> io::Result<Quirk> {
        let quirk = self.quirks.pop_front().unwrap_or(Quirk::Plain);
        match quirk {
            Quirk::Interrupted => return Err(ErrorKind::Interrupted.into()),
            Quirk::Overtaken => drop(self.happen()),
            Quirk::Plain | Quirk::AtMost(_) | Quirk::Refused => {}
        }
        Ok(quirk)
    }
}

impl Read for Model {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.lingers {
            assert_eq!(self.output.len(), self.consumed, "a stream that owes does not read");
        }
        self.quirk()?;
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
        self.consumed += count;
        self.mark = self.mark.and_then(|bytes| bytes.checked_sub(count));
        if count < buf.len() && self.queued.is_empty() {
            self.is_read_armed = true;
        }
        Ok(count)
    }
}

impl Write for Model {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        assert!(!self.lingers, "nothing follows a FIN");
        assert!(!buf.is_empty(), "a write of nothing");
        let at_most = match self.quirk()? {
            Quirk::AtMost(count) => count,
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
        assert_eq!(self.output.len(), self.consumed, "a stream that owes takes nothing in");
        let at_most = match self.quirk()? {
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
        self.consumed += count;
        self.in_pipe = count;
        self.mark = self.mark.and_then(|bytes| bytes.checked_sub(count));
        Ok(count)
    }

    fn splice_out(&mut self, pipe: &crate::socket::Pipe, bytes: usize) -> io::Result<usize> {
        assert!(!self.lingers, "nothing follows a FIN");
        assert_eq!(bytes, self.in_pipe, "all that the pipe holds is offered");
        let at_most = match self.quirk()? {
            Quirk::Refused => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
            Quirk::AtMost(count) => count,
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
        6 => vec(any::<u8>(), 1..40).prop_map(Happening::Arrives),
        6 => (1..40_usize).prop_map(Happening::Room),
        1 => Just(Happening::Mark),
        1 => Just(Happening::Spurious),
    ]
}

fn quirk() -> impl Strategy<Value = Quirk> {
    prop_oneof![
        4 => Just(Quirk::Plain),
        1 => Just(Quirk::Interrupted),
        2 => (1..12_usize).prop_map(Quirk::AtMost),
        2 => Just(Quirk::Overtaken),
        1 => Just(Quirk::Refused),
    ]
}

fn model(end: impl Strategy<Value = Option<Happening>>) -> impl Strategy<Value = Model> {
    let end = (end, any::<prop::sample::Index>());
    let splicing = (any::<bool>(), any::<bool>());
    let lists = (vec(happening(), 0..60), vec(quirk(), 0..120));
    let parts = (lists, 1..17_usize, 0..20_usize, end, splicing);
    parts.prop_map(|((mut happenings, quirks), scratch_bytes, room, (end, at), splicing)| {
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
            output: Vec::new(),
            scratch_bytes,
            lingers: false,
            splices: splicing.0,
            starts_in_bulk: splicing.1,
            in_pipe: 0,
        }
    })
}

/// Plays the loop's part until nothing more happens: what was remembered, what edges came, and
/// whether the slice before asked for another are all that leads to a slice. Returns whether the
/// mover told that the stream is finished.
fn run(model: &mut Model) -> bool {
    let now = Instant::now();
    let mut mover = ByteMover::new(now);
    if model.starts_in_bulk {
        mover.gauge = Gauge::bulk();
    }
    let (mut pipes, splices) = (PipePool::new(true), model.splices);
    let (mut readiness, mut tally) = (Readiness::NONE, Tally::default());
    let mut scratch = vec![0; model.scratch_bytes];
    let mut is_due = false;
    loop {
        let happened = model.happen();
        if std::mem::take(&mut model.finish_asked) {
            mover.finish();
            is_due = true;
        }
        let edges = std::mem::take(&mut model.edges);
        readiness.merge(edges);
        if edges == Readiness::NONE && !is_due {
            if happened {
                continue;
            }
            return false;
        }
        let mut work = StreamWork {
            scratch: &mut scratch,
            pipes: &mut pipes,
            splices,
            answer: &Answer::Echo,
            tally: &mut tally,
            now,
        };
        let step = mover.advance(model, &mut readiness, &mut work, |_, _| {}).unwrap();
        let owed = match mover.owed.as_deref() {
            None => 0,
            // What a pipe has held, if it was refused, may be more than a read.
            Some(Owed::Bytes { bytes, sent }) => bytes.len() - sent,
            Some(Owed::Piped(_)) => model.in_pipe,
        };
        assert!(splices || owed <= model.scratch_bytes, "{owed} bytes are owed");
        assert!(model.lingers || model.output.len() + owed == model.consumed);
        is_due = match step {
            Step::Again => true,
            Step::Wait => {
                let waits_for_room = mover.owes();
                let has_seen_the_end = if waits_for_room {
                    !readiness.is_writable()
                } else {
                    !readiness.is_readable()
                };
                assert!(has_seen_the_end, "waits with {readiness:?}, owing {owed}");
                false
            }
            Step::Paid => {
                assert!(!model.lingers, "paid twice");
                assert_eq!(model.output.len(), model.consumed);
                model.lingers = true;
                mover.linger();
                true
            }
            Step::Finished => return true,
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// cases S1 S2 S4 S5 S8 S9 S13 S16: for any input in any chunks, any short writes and signals,
    /// and a half-close anywhere or nowhere, what comes out is what went in; by copies, by pipes,
    /// and by both in turn.
    #[test]
    fn every_byte_comes_back_in_order(
        mut model in model(prop_oneof![Just(None), Just(Some(Happening::Fin))]),
    ) {
        // The peer reads all in the end, in steps that leave much to be flushed.
        model.happenings.extend(vec![Happening::Room(100); 30]);
        let ends = model.happenings.iter().any(|happening| matches!(happening, Happening::Fin));
        prop_assert_eq!(run(&mut model), ends);
        prop_assert_eq!(&model.output, &model.input);
    }

    /// case S11: wherever this side ends the stream, what was read before is paid in full, what
    /// comes after is discarded, and the peer's FIN is seen.
    #[test]
    fn a_stream_ended_by_this_side_pays_what_it_has_read(
        mut model in model(Just(Some(Happening::Finish))),
    ) {
        model.happenings.extend(vec![Happening::Room(100); 30]);
        model.happenings.push_back(Happening::Fin);
        prop_assert!(run(&mut model));
        prop_assert!(model.lingers);
        prop_assert_eq!(model.consumed, model.input.len());
        prop_assert_eq!(&model.output[..], &model.input[..model.output.len()]);
    }
}
