//! The files that results are written to. An old result stays until the new one is complete: the
//! new one is written beside it and then renamed. Anything but a regular file, such as a FIFO, is
//! opened once and written once.

mod distinct;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use self::distinct::check_outputs;
use super::files::write_hlog;
use super::{Format, run_page, series_page, write_csv, write_csv_rows, write_hgrm};
use crate::error::Error;
use crate::measured::{RunResult, SweepResult};

/// The number of symbolic links that Linux follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// A file for the result, and its format.
#[derive(Clone, Debug)]
pub struct Output {
    /// The file.
    pub path: PathBuf,
    /// The format, by the extension of the file.
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
    /// Returns the error for a file that cannot be written.
    fn failed(&self, error: io::Error) -> Error {
        Error::new("write", self.path.display(), error)
    }

    /// Checks before the run that the file can be written. Opens a FIFO, which blocks until it has
    /// a reader.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn open(&self) -> Result<OutputFile, Error> {
        self.open_as(0).map_err(|error| self.failed(error))
    }

    /// Like [`Output::open`], for the report of a run that did not happen. Returns `None` if the
    /// file cannot be written, or is a FIFO without a reader.
    pub fn open_after_failure(&self) -> Option<OutputFile> {
        self.open_as(libc::O_NONBLOCK).ok()
    }

    /// Opens all these files, in order, and adds them to `opened`.
    ///
    /// # Errors
    ///
    /// As of [`Output::open`], for the first file that cannot be written.
    pub fn open_all(outputs: &[Output], opened: &mut Vec<OutputFile>) -> Result<(), Error> {
        for output in outputs {
            opened.push(output.open()?);
        }
        Ok(())
    }

    /// Opens those files that a failed run has not opened, as [`Output::open_after_failure`] does.
    pub fn open_rest(outputs: &[Output], opened: &mut Vec<OutputFile>) {
        let rest = outputs.iter().skip(opened.len());
        opened.extend(rest.filter_map(Output::open_after_failure));
    }

    fn open_as(&self, flags: i32) -> io::Result<OutputFile> {
        let target = followed(&self.path)?;
        let old = match fs::metadata(&target) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let place = match &old {
            // Opening a directory fails here too.
            Some(old) if !old.is_file() || is_standard_stream(old) => {
                let flags = if old.file_type().is_fifo() { flags } else { 0 };
                // A standard stream that leads to a file has text in it.
                let file = OpenOptions::new().append(true).custom_flags(flags).open(&target)?;
                Place::Direct(file)
            }
            Some(_) => {
                OpenOptions::new().write(true).open(&target)?;
                // If the folder is not writable, the file is overwritten in place.
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

/// A file that can be written.
#[derive(Debug)]
pub struct OutputFile {
    output: Output,
    place: Place,
    /// The log of a running benchmark. It has no name until it is complete.
    log: Option<File>,
    /// The run has ended, and its log is complete.
    is_logged: bool,
    /// Why the log is incomplete.
    log_error: Option<io::Error>,
}

/// How the result is put into its file.
#[derive(Debug)]
enum Place {
    /// A new file is written beside the old one and renamed.
    Beside(PathBuf),
    /// The file is overwritten, because its folder takes no new file.
    Over(PathBuf),
    /// The file is not a regular file, or is a standard stream of this process.
    Direct(File),
}

impl OutputFile {
    /// Returns the file that the log is written to during the run, or `None` if this output is not
    /// a log.
    ///
    /// # Errors
    ///
    /// No file can be created for the log.
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

    /// Notes why the log is incomplete.
    pub fn log_failed(&mut self, error: io::Error) {
        self.log_error.get_or_insert(error);
    }

    /// Returns true if this output is written during the run.
    pub fn is_log(&self) -> bool {
        self.output.format == Format::Hlog
    }

    /// Notes that the run has ended and that its log was written on the way. Only the name of the
    /// log is missing then.
    pub fn log_ended(&mut self) {
        self.is_logged = self.is_log();
    }

    /// Writes the report, unless nothing was measured and the file holds an older result.
    ///
    /// # Errors
    ///
    /// The file or its log could not be written.
    pub fn write(mut self, result: &RunResult) -> Result<(), Error> {
        if result.messages.received == 0 && self.has_old_result() {
            return Ok(());
        }
        if let Some(error) = self.log_error {
            return Err(self.output.failed(error));
        }
        let content = match (self.log.take(), self.is_logged) {
            (Some(log), true) => Ok(Content::Log(log)),
            (None, true) => return Ok(()), // written directly during the run
            (_, false) => content_of(self.output.format, result).map(Content::Bytes),
        };
        let written = content.and_then(|content| self.place.write(content));
        written.map_err(|error| self.output.failed(error))
    }

    /// Writes the result of a sweep as JSON, CSV or a page, unless no run took place and the file
    /// holds an older result.
    ///
    /// # Errors
    ///
    /// The file could not be written, or has another format.
    pub fn write_sweep(self, result: &SweepResult) -> Result<(), Error> {
        if result.points.is_empty() && self.has_old_result() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let content = match self.output.format {
            Format::Json => {
                bytes = result.to_json().into_bytes();
                Ok(())
            }
            Format::Html => {
                bytes = series_page(result).into_bytes();
                Ok(())
            }
            Format::Csv => write_csv_rows(&result.points, &mut bytes),
            _ => Err(ErrorKind::Unsupported.into()),
        };
        let written = content.and_then(|()| self.place.write(Content::Bytes(bytes)));
        written.map_err(|error| self.output.failed(error))
    }

    /// Writes the text of a result of another kind, unless it has no figures and the file holds an
    /// older result.
    ///
    /// # Errors
    ///
    /// The file could not be written.
    pub fn write_text(self, text: String, has_figures: bool) -> Result<(), Error> {
        if !has_figures && self.has_old_result() {
            return Ok(());
        }
        let written = self.place.write(Content::Bytes(text.into_bytes()));
        written.map_err(|error| self.output.failed(error))
    }

    /// Returns the file and its format.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Returns true if a regular file holds an older result. What was written to anything else is
    /// gone.
    fn has_old_result(&self) -> bool {
        match &self.place {
            Place::Beside(target) | Place::Over(target) => {
                fs::metadata(target).is_ok_and(|old| old.len() > 0)
            }
            Place::Direct(_) => false,
        }
    }
}

/// The content of a file.
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
                // `io::copy` is not used, because its fast paths do not tell which file an error
                // belongs to.
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

fn content_of(format: Format, result: &RunResult) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match format {
        Format::Json => bytes = result.to_json().into_bytes(),
        Format::Html => bytes = run_page(result).into_bytes(),
        Format::Csv => write_csv(result, &mut bytes)?,
        Format::Hgrm => write_hgrm(result, &mut bytes)?,
        Format::Hlog => write_hlog(result, &mut bytes)?,
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
                let written = copy_mode_and_owner(&target, &file)
                    .and_then(|()| content.write_to(&mut file))
                    .and_then(|()| file.sync_all());
                let renamed = written.and_then(|()| match fs::rename(&path, &target) {
                    // The target is a mount point, or another user's file in a sticky folder.
                    Err(error) if forbids_rename(&error) => {
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

fn forbids_rename(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EXDEV | libc::EPERM | libc::EACCES))
}

fn write_in_place(target: &Path, content: &mut Content) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(target)?;
    content.write_to(&mut file)
}

/// Gives the new file the mode and the owner of the file that it replaces.
fn copy_mode_and_owner(target: &Path, file: &File) -> io::Result<()> {
    let Ok(old) = fs::metadata(target) else { return Ok(()) };
    let new = file.metadata()?;
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        // Only root may give a file away.
        let _ = fchown(file, Some(old.uid()), Some(old.gid()));
    }
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))
}

/// Creates a file with a random name in the folder of `target`.
fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    /// Names are random, so even a second try is rare.
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

/// Returns the file that a path leads to through symbolic links, whether the file exists or not.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            // Links in /proc lead to open files, which need not have the name that the link shows.
            Ok(_) if path.starts_with("/proc") => return Ok(path),
            Ok(next) => path = folder_of(&path).join(next),
            // The path is not a link, or does not exist.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Returns true if stdout or stderr leads to this file.
fn is_standard_stream(file: &fs::Metadata) -> bool {
    let is_same = |stream: io::Result<std::os::fd::OwnedFd>| {
        let stream = stream.and_then(|stream| File::from(stream).metadata());
        stream.is_ok_and(|stream| (stream.dev(), stream.ino()) == (file.dev(), file.ino()))
    };
    is_same(io::stdout().as_fd().try_clone_to_owned())
        || is_same(io::stderr().as_fd().try_clone_to_owned())
}

#[cfg(test)]
mod tests;
