//! What the terminal that a stream leads to can show.

use std::env;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;

/// The width of a terminal that does not tell its own, as a serial line: that of the VT100.
const COLUMNS_UNKNOWN: usize = 80;

/// The width of the terminal, or none when the stream leads to a file or a pipe.
///
/// `COLUMNS` (environ(7)) may ask for less than the terminal has.
pub fn columns(stream: &(impl AsFd + IsTerminal)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let window = tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col));
    let asked = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let known = [window, asked].into_iter().flatten().filter(|columns| *columns > 0);
    Some(known.min().unwrap_or(COLUMNS_UNKNOWN))
}

/// Whether a log to this stream has colors: none in a file, none on a terminal that has none, and
/// none if the user wants none (no-color.org).
pub fn has_colors(stream: &impl IsTerminal) -> bool {
    let is_unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !is_unwanted && !is_dumb()
}

/// Whether a line on the terminal can be drawn again in its place.
pub fn can_redraw(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && !is_dumb()
}

/// A terminal without control sequences, as that of an editor (terminfo(5)).
fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|name| name == "dumb")
}
