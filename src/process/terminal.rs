//! What the terminal of a stream can show.

use std::env;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;

/// The assumed width of a terminal that does not report its own, such as a serial line: that of the
/// VT100.
const COLUMNS_UNKNOWN: usize = 80;

/// Returns the width of the terminal, or `None` if the stream leads to a file or a pipe.
///
/// `COLUMNS` (environ(7)) can make it narrower.
pub fn columns(stream: &(impl AsFd + IsTerminal)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let window = tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col));
    let asked = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let known = [window, asked].into_iter().flatten().filter(|columns| *columns > 0);
    Some(known.min().unwrap_or(COLUMNS_UNKNOWN))
}

/// Returns true if a log on this stream has colors: the stream is a terminal that can show them,
/// and the user has not switched them off (no-color.org).
pub fn has_colors(stream: &impl IsTerminal) -> bool {
    let is_unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !is_unwanted && !is_dumb()
}

/// Returns true if a line on the terminal can be redrawn in place.
pub fn can_redraw(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && !is_dumb()
}

/// Returns true for a terminal without control sequences, such as that of an editor (terminfo(5)).
fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|name| name == "dumb")
}
