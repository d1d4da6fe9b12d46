//! What a loop did, turn by turn, as a file.
//!
//! A [`Tracer`] is the [`Probe`](crate::reactor::Probe) of a loop. It records each turn in a ring
//! of bounded size (`ring.rs`), so that a trace of days shows the last turns. The file is written
//! when the trace ends, and each time the process receives [`WRITE_SIGNAL`] and the reactor watches
//! it: in Chrome's trace format (`chrome.rs`), or as a page (`page.rs`).
//!
//! A loop without a tracer contains no code for it, because the probe is a type parameter of the
//! reactor.
//!
//! ```
//! use std::time::Duration;
//!
//! use resound::echo::{Options, Server};
//! use resound::reactor::Reactor;
//! use resound::trace::Trace;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("turns.json");
//! # let file = path.to_str().expect("the path is text");
//! let trace = Trace::open(&file.parse()?, "serve")?;
//! let mut reactor = Reactor::new()?;
//! let mut server = Server::new(Options::default());
//! server.listen(&mut reactor, &"tcp://127.0.0.1:0".parse()?)?;
//! let tracer = trace.tracers(1).remove(0);
//! let mut reactor = reactor.with_probe(tracer);
//! reactor.turn_timeout(&mut server, Duration::from_millis(1))?;
//! drop(reactor);
//! trace.finish()?;
//! assert!(std::fs::read_to_string(file)?.contains("traceEvents"));
//! # Ok(())
//! # }
//! ```

mod chrome;
mod code;
mod names;
mod page;
mod ring;
mod tracer;

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

pub use self::ring::RECORDS_MAX;
use self::ring::Ring;
pub use self::tracer::Tracer;
use crate::error::Error;
use crate::process::spawn_thread;
use crate::units::duration_ns;

/// The signal that makes a tracer write the file, if the reactor watches it.
pub const WRITE_SIGNAL: i32 = libc::SIGUSR2;

/// Where a trace goes, and in which format.
///
/// ```
/// use resound::trace::TraceFile;
///
/// assert!("turns.json".parse::<TraceFile>().is_ok());
/// assert!("TURNS.HTML".parse::<TraceFile>().is_ok());
/// let error = "turns.txt".parse::<TraceFile>().unwrap_err();
/// assert_eq!(error, "expected a file that ends in .json or .html, such as 'trace.json'");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceFile {
    path: PathBuf,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Chrome,
    Page,
}

impl TraceFile {
    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl FromStr for TraceFile {
    type Err = String;

    fn from_str(text: &str) -> Result<TraceFile, String> {
        let path = PathBuf::from(text);
        let is = |name: &str| path.extension().is_some_and(|own| own.eq_ignore_ascii_case(name));
        let format = if is("json") {
            Format::Chrome
        } else if is("html") {
            Format::Page
        } else {
            return Err(
                "expected a file that ends in .json or .html, such as 'trace.json'".to_owned()
            );
        };
        Ok(TraceFile { path, format })
    }
}

/// A trace of one or several loops, whose file is open.
#[derive(Debug)]
pub struct Trace(Arc<Shared>);

/// What the tracers of all loops share.
#[derive(Debug)]
struct Shared {
    begun_at: Instant,
    begun: SystemTime,
    /// The command of the program that is traced.
    command: &'static str,
    target: TraceFile,
    rings: Mutex<Rings>,
    /// Locked while it is written. The lock of the rings may be taken meanwhile.
    file: Mutex<File>,
}

/// The latest ring of each loop that has handed one over.
#[derive(Debug, Default)]
struct Rings {
    rings: Vec<Option<Arc<Ring>>>,
    /// A thread writes the file.
    is_writing: bool,
    /// A ring came after that thread began.
    is_outdated: bool,
}

impl Trace {
    /// Opens the file and begins the trace. `command` names what is traced.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn open(target: &TraceFile, command: &'static str) -> Result<Trace, Error> {
        // An older trace stays until the first write.
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&target.path)
            .map_err(|error| Error::new("write", target.path.display(), error))?;
        Ok(Trace(Arc::new(Shared {
            begun_at: Instant::now(),
            begun: SystemTime::now(),
            command,
            target: target.clone(),
            rings: Mutex::default(),
            file: Mutex::new(file),
        })))
    }

    /// Returns a tracer for each of `loops` loops. They share [`RECORDS_MAX`].
    pub fn tracers(&self, loops: usize) -> Vec<Tracer> {
        self.0.rings().rings.resize(loops, None);
        let capacity = RECORDS_MAX / loops.max(1);
        (0..loops).map(|index| Tracer::new(Arc::clone(&self.0), index, capacity)).collect()
    }

    /// Writes the file. Call it when the reactors of all tracers are dropped.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        let written = self.0.write();
        written.map_err(|error| Error::new("write", self.0.target.path.display(), error))
    }
}

impl Shared {
    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a time as the records hold it.
    fn since_begun(&self, at: Instant) -> u64 {
        duration_ns(at.saturating_duration_since(self.begun_at))
    }

    /// Keeps the latest ring of a loop.
    fn keep(&self, index: usize, mut ring: Ring) {
        ring.unroll();
        if let Some(place) = self.rings().rings.get_mut(index) {
            *place = Some(Arc::new(ring));
        }
    }

    /// Keeps a copy of the ring of a loop that goes on. Frees the copy before it first, so that a
    /// loop has a third ring only while a file is written from the older copy.
    fn keep_copy(&self, index: usize, ring: &Ring) {
        if let Some(place) = self.rings().rings.get_mut(index) {
            *place = None;
        }
        self.keep(index, ring.clone());
    }

    /// Writes the file on another thread, because a file system can be slow and the loop must go
    /// on. If a thread writes already, it writes once more.
    fn write_beside(shared: &Arc<Shared>) {
        let mut rings = shared.rings();
        rings.is_outdated = true;
        if rings.is_writing {
            return;
        }
        let of_thread = Arc::clone(shared);
        let work = move || {
            loop {
                {
                    let mut rings = of_thread.rings();
                    if !std::mem::take(&mut rings.is_outdated) {
                        rings.is_writing = false;
                        return;
                    }
                }
                // The end of the trace writes again, and reports why that fails.
                let _ = of_thread.write();
            }
        };
        // Without a thread, the file is written at the end.
        rings.is_writing = spawn_thread("trace", work).is_ok();
    }

    /// Writes the latest rings over what the file contains.
    fn write(&self) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let rings: Vec<_> = self.rings().rings.clone();
        // A pipe or a terminal has no position, and gets one trace after the other.
        if file.rewind().is_ok() {
            file.set_len(0)?;
        }
        let mut out = BufWriter::with_capacity(64 << 10, &mut *file);
        match self.target.format {
            Format::Chrome => chrome::write(&mut out, self, &rings)?,
            Format::Page => page::write(&mut out, self, &rings)?,
        }
        out.flush()
    }
}
