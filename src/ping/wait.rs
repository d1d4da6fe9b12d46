//! The one place where the thread waits, by poll(2).

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Controls;

/// Requests for the figures that one answer serves.
const REPORTS_MAX: usize = 64;

/// No time is longer, so that no sum of times can overflow: a hundred years.
pub(super) const TIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// What a wait ended with.
pub(super) struct Woken {
    /// [`Controls::stop`] is readable.
    pub(super) has_stopped: bool,
    /// The figures so far are asked for.
    pub(super) is_asked: bool,
    /// What the other descriptor is ready for.
    pub(super) other: PollFlags,
}

/// Waits for the controls, for the other descriptor, or for the time to be over.
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
    // The stop stands for each of the others that is not there.
    let mut fds = [stop.clone(), report.unwrap_or(stop.clone()), other.clone().unwrap_or(stop)];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {}
        Err(error) if error == rustix::io::Errno::INTR => {}
        Err(error) => return Err(error.into()),
    }
    let [stop, report, ready] = fds.map(|fd| fd.revents());
    let is_asked = controls.report.is_some_and(|fd| {
        let mut bytes = [0; REPORTS_MAX];
        // poll(2) said that there are bytes, and this is their only reader.
        report.intersects(PollFlags::IN) && rustix::io::read(fd, &mut bytes).is_ok_and(|n| n > 0)
    });
    let ready = if other.is_some() { ready } else { PollFlags::empty() };
    Ok(Woken { has_stopped: !stop.is_empty(), is_asked, other: ready })
}
