//! The files that results go to. An old result stays until the new one is whole: a new one is
//! written beside it and takes its name. What is no regular file, such as a FIFO, is opened once
//! and written once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use super::{Format, HlogWriter, write_csv, write_hgrm};
use crate::error::Error;
use crate::measured::RunResult;

/// As many as Linux follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Where to write the result, and in which form.
#[derive(Clone, Debug)]
pub struct Output {
    /// The file.
    pub path: PathBuf,
    /// Its form, by the ending of its name.
    pub format: Format,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Output, String> {
        let format = Format::of(Path::new(text))?;
        Ok(Output { path: text.into(), format })
    }
}

impl Output {
    /// The file cannot be written.
    fn failed(&self, error: io::Error) -> Error {
        Error::new("write", self.path.display(), error)
    }

    /// Finds out before the run whether the file can be written. Opens a FIFO, which waits for a
    /// reader.
    ///
    /// # Errors
    ///
    /// Why it cannot be written.
    pub fn open(&self) -> Result<OutputFile, Error> {
        self.open_as(0).map_err(|error| self.failed(error))
    }

    /// As [`Output::open`], after a run that did not happen, which has been told. `None` where the
    /// file cannot be written, or is a FIFO that nothing reads.
    pub fn open_after_failure(&self) -> Option<OutputFile> {
        self.open_as(libc::O_NONBLOCK).ok()
    }

    fn open_as(&self, flags: i32) -> io::Result<OutputFile> {
        let target = followed(&self.path)?;
        let old = match fs::metadata(&target) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let place = match &old {
            // A directory is refused by this, too.
            Some(old) if !old.is_file() || is_standard_stream(old) => {
                let flags = if old.file_type().is_fifo() { flags } else { 0 };
                // A standard stream that goes to a file has text in it.
                let file = OpenOptions::new().append(true).custom_flags(flags).open(&target)?;
                Place::Direct(file)
            }
            Some(_) => {
                OpenOptions::new().write(true).open(&target)?;
                // A file may be writable in a folder that is not: then it is written in its place.
                let (path, probe) = match create_beside(&target) {
                    Ok(created) => created,
                    Err(_) => return Ok(self.in_place(Place::Over(target))),
                };
                drop(probe);
                fs::remove_file(path)?;
                Place::Beside(target)
            }
            None => {
                let (path, probe) = create_beside(&target)?;
                drop(probe);
                fs::remove_file(path)?;
                Place::Beside(target)
            }
        };
        Ok(self.in_place(place))
    }

    fn in_place(&self, place: Place) -> OutputFile {
        OutputFile { output: self.clone(), place, log: None, is_logged: false, log_error: None }
    }
}

/// A file that was found to be writable.
#[derive(Debug)]
pub struct OutputFile {
    output: Output,
    place: Place,
    /// The log of a run that goes on, without a name until it is whole.
    log: Option<File>,
    /// The run went to its end, and all of its log is written.
    is_logged: bool,
    /// Why the log is not whole.
    log_error: Option<io::Error>,
}

/// How a result gets to its place.
#[derive(Debug)]
enum Place {
    /// It is written beside the file and takes its name.
    Beside(PathBuf),
    /// The file's folder takes no other.
    Over(PathBuf),
    /// It is no regular file, or a standard stream of this process.
    Direct(File),
}

impl OutputFile {
    /// What to write to while the run goes on, for a log.
    ///
    /// # Errors
    ///
    /// When no file for it can be made.
    pub fn start_log(&mut self) -> Result<Option<File>, Error> {
        if !self.is_log() {
            return Ok(None);
        }
        let log = match &self.place {
            Place::Direct(file) => return Ok(Some(self.cloned(file)?)),
            Place::Beside(target) => tempfile::tempfile_in(folder_of(target)),
            Place::Over(_) => tempfile::tempfile(),
        };
        let log = log.map_err(|error| self.output.failed(error))?;
        let clone = self.cloned(&log)?;
        self.log = Some(log);
        Ok(Some(clone))
    }

    fn cloned(&self, file: &File) -> Result<File, Error> {
        file.try_clone().map_err(|error| self.output.failed(error))
    }

    /// Its log could not be written whole.
    pub fn log_failed(&mut self, error: io::Error) {
        self.log_error.get_or_insert(error);
    }

    /// Whether it is written while the run goes on.
    pub fn is_log(&self) -> bool {
        self.output.format == Format::Hlog
    }

    /// The run is over, and its log was written while it went on: it needs no more than its name.
    pub fn log_ended(&mut self) {
        self.is_logged = self.is_log();
    }

    /// Writes what came of the run, unless nothing was measured and an older result is there.
    ///
    /// # Errors
    ///
    /// Why it could not be written.
    pub fn write(mut self, report: &RunResult) -> Result<(), Error> {
        if report.messages.received == 0 && self.has_old_result() {
            return Ok(());
        }
        if let Some(error) = self.log_error {
            return Err(self.output.failed(error));
        }
        let content = match (self.log.take(), self.is_logged) {
            (Some(log), true) => Ok(Content::Log(log)),
            (None, true) => return Ok(()), // Written directly while the run went on.
            (_, false) => content_of(self.output.format, report).map(Content::Bytes),
        };
        let written = content.and_then(|content| self.place.write(content));
        written.map_err(|error| self.output.failed(error))
    }

    /// Of something that is no regular file, what was written before is gone anyway.
    fn has_old_result(&self) -> bool {
        match &self.place {
            Place::Beside(target) | Place::Over(target) => {
                fs::metadata(target).is_ok_and(|old| old.len() > 0)
            }
            Place::Direct(_) => false,
        }
    }
}

/// What a file is to hold.
enum Content {
    Bytes(Vec<u8>),
    Log(File),
}

impl Content {
    fn write_to(&mut self, file: &mut File) -> io::Result<()> {
        match self {
            Content::Bytes(bytes) => file.write_all(bytes),
            Content::Log(log) => {
                log.rewind()?;
                // Not by io::copy: its fast paths do not say of which file an error is.
                let mut buf = vec![0; 64 << 10];
                loop {
                    match log.read(&mut buf)? {
                        0 => return Ok(()),
                        count => file.write_all(&buf[..count])?,
                    }
                }
            }
        }
    }
}

fn content_of(format: Format, report: &RunResult) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match format {
        Format::Json => bytes = report.to_json().into_bytes(),
        Format::Csv => write_csv(report, &mut bytes)?,
        Format::Hgrm => write_hgrm(report, &mut bytes)?,
        Format::Hlog => HlogWriter::new(&mut bytes, SystemTime::now()).map(|_| ())?,
    }
    Ok(bytes)
}

impl Place {
    fn write(self, mut content: Content) -> io::Result<()> {
        match self {
            Place::Direct(mut file) => content.write_to(&mut file),
            Place::Over(target) => write_in_place(&target, &mut content),
            Place::Beside(target) => {
                let (path, mut file) = create_beside(&target)?;
                let written = take_after(&target, &file)
                    .and_then(|()| content.write_to(&mut file))
                    .and_then(|()| file.sync_all());
                let renamed = written.and_then(|()| match fs::rename(&path, &target) {
                    // A mount point, or the file of another user in a sticky folder.
                    Err(error) if is_of_the_name(&error) => {
                        write_in_place(&target, &mut content).and_then(|()| fs::remove_file(&path))
                    }
                    renamed => renamed,
                });
                if renamed.is_err() {
                    let _ = fs::remove_file(&path);
                }
                renamed
            }
        }
    }
}

fn is_of_the_name(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EXDEV | libc::EPERM | libc::EACCES))
}

fn write_in_place(target: &Path, content: &mut Content) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(target)?;
    content.write_to(&mut file)
}

/// Gives a new file the mode and the owner of the one it replaces.
fn take_after(target: &Path, file: &File) -> io::Result<()> {
    let Ok(old) = fs::metadata(target) else { return Ok(()) };
    let new = file.metadata()?;
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        // Only root may give a file away.
        let _ = fchown(file, Some(old.uid()), Some(old.gid()));
    }
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))
}

/// Creates a file with a name of its own in the folder of another.
fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    /// Names are random: even the second is hardly ever needed.
    const TRIES_MAX: usize = 16;
    let mut tries = 0;
    loop {
        tries += 1;
        let name = format!(".resound-{:016x}", fastrand::u64(..));
        let path = folder_of(target).join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && tries < TRIES_MAX => {}
            Err(error) => return Err(error),
        }
    }
}

fn folder_of(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The file that a path leads to by symbolic links, whether it exists or not.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            // The links of /proc lead to what is open, and need not have the name that they show.
            Ok(_) if path.starts_with("/proc") => return Ok(path),
            Ok(next) => path = folder_of(&path).join(next),
            // It is no link, or is not there.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Whether this is the file that stdout or stderr goes to.
fn is_standard_stream(file: &fs::Metadata) -> bool {
    let is_same = |stream: io::Result<std::os::fd::OwnedFd>| {
        let stream = stream.and_then(|stream| File::from(stream).metadata());
        stream.is_ok_and(|stream| (stream.dev(), stream.ino()) == (file.dev(), file.ino()))
    };
    is_same(io::stdout().as_fd().try_clone_to_owned())
        || is_same(io::stderr().as_fd().try_clone_to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn output(path: &Path) -> Output {
        path.to_str().unwrap().parse().unwrap()
    }

    fn failed() -> RunResult {
        RunResult::failed(Vec::new(), "refused")
    }

    fn measured() -> RunResult {
        let mut report = failed();
        report.messages.received = 1;
        report
    }

    #[test]
    fn a_result_takes_the_place_and_the_mode_of_the_old_one_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let file = output(&path).open().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old", "until the new one is whole");
        file.write(&measured()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), measured().to_json());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_run_that_measured_nothing_leaves_an_old_result_and_else_tells_why() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["run.json", "run.csv", "run.hgrm", "run.hlog"] {
            let path = folder.path().join(name);
            fs::write(&path, "old").unwrap();
            output(&path).open().unwrap().write(&failed()).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"old", "{name}");
            fs::write(&path, "").unwrap();
            output(&path).open().unwrap().write(&failed()).unwrap();
            assert_ne!(fs::read(&path).unwrap(), b"", "an empty file is no result");
        }
    }

    #[test]
    fn a_link_stays_and_its_target_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("latest.json"), folder.path().join("run-1.json"));
        symlink("run-1.json", &link).unwrap();
        for _ in 0..2 {
            output(&link).open().unwrap().write(&measured()).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new("run-1.json"));
            assert_eq!(fs::read_to_string(&target).unwrap(), measured().to_json());
        }
        let circle = folder.path().join("circle.json");
        symlink("circle.json", &circle).unwrap();
        assert!(output(&circle).open().unwrap_err().to_string().starts_with("cannot write "));
    }

    #[test]
    fn a_fifo_without_a_reader_is_not_waited_for_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        let mut command = std::process::Command::new("mkfifo");
        assert!(command.arg(&path).status().unwrap().success());
        assert!(output(&path).open_after_failure().is_none());
    }

    #[test]
    fn a_log_has_no_name_until_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.hlog");
        let mut file = output(&path).open().unwrap();
        let mut log = file.start_log().unwrap().unwrap();
        log.write_all(b"intervals").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        file.log_ended();
        file.write(&measured()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"intervals");
    }
}
