//! The only place where the thread waits, by poll(2).

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Controls;

/// The largest number of requests for figures that one report answers.
const REPORTS_MAX: usize = 64;

/// The upper limit of all times, a hundred years, so that no sum of times overflows.
pub(super) const TIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// The result of a wait.
pub(super) struct Woken {
    /// [`Controls::stop`] is readable.
    pub(super) has_stopped: bool,
    /// [`Controls::report`] was readable: the caller requests the figures so far.
    pub(super) is_asked: bool,
    /// The readiness of the other descriptor.
    pub(super) other: PollFlags,
}

/// Waits for the controls, the other descriptor, or the timeout.
pub(super) fn wait(
    controls: Controls<'_>,
    other: Option<(BorrowedFd<'_>, PollFlags)>,
    timeout: Option<Duration>,
) -> io::Result<Woken> {
    let timeout = timeout.map(|timeout| Timespec::try_from(timeout.min(TIME_MAX)));
    let timeout = timeout.transpose().map_err(|_| ErrorKind::InvalidInput)?;
    let stop = PollFd::from_borrowed_fd(controls.stop, PollFlags::IN);
    let report = controls.report.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let other = other.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags));
    // An absent descriptor is replaced by `stop`, because the array has a fixed length.
    let mut fds = [stop.clone(), report.unwrap_or(stop.clone()), other.clone().unwrap_or(stop)];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {}
        Err(error) if error == rustix::io::Errno::INTR => {}
        Err(error) => return Err(error.into()),
    }
    let [stop, report, ready] = fds.map(|fd| fd.revents());
    let is_asked = controls.report.is_some_and(|fd| {
        let mut bytes = [0; REPORTS_MAX];
        // The read does not block: poll(2) reported bytes, and there is no other reader.
        report.intersects(PollFlags::IN) && rustix::io::read(fd, &mut bytes).is_ok_and(|n| n > 0)
    });
    let ready = if other.is_some() { ready } else { PollFlags::empty() };
    Ok(Woken { has_stopped: !stop.is_empty(), is_asked, other: ready })
}
