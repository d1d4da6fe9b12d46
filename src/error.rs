//! The error type of the crate's public interface.

use std::fmt;
use std::io;

/// An error that names the operation, its object and the reason, in one line for a person.
///
/// ```
/// use std::io;
///
/// let error = resound::Error::new("bind", "udp://127.0.0.1:7", io::ErrorKind::PermissionDenied)
///     .hint("ports below 1024 need CAP_NET_BIND_SERVICE");
/// assert_eq!(
///     error.to_string(),
///     "cannot bind udp://127.0.0.1:7: permission denied \
///      (ports below 1024 need CAP_NET_BIND_SERVICE)"
/// );
/// ```
#[derive(Debug)]
pub struct Error {
    operation: &'static str,
    object: String,
    hint: Option<String>,
    source: io::Error,
}

impl Error {
    /// Creates an error of an operation (a verb) on an object.
    pub fn new(
        operation: &'static str,
        object: impl fmt::Display,
        source: impl Into<io::Error>,
    ) -> Error {
        Error { operation, object: object.to_string(), hint: None, source: source.into() }
    }

    /// Adds what the reader can do about it.
    pub fn hint(self, hint: impl Into<String>) -> Error {
        Error { hint: Some(hint.into()), ..self }
    }

    /// Returns the kind of the underlying error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Returns only the reason, in the words of [`reason`].
    pub fn reason(&self) -> String {
        reason(&self.source)
    }

    /// Returns the error number of the underlying error, if it comes from the system.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot {} {}: {}", self.operation, self.object, reason(&self.source))?;
        match &self.hint {
            Some(hint) => write!(formatter, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Returns the reason of an I/O error in the words of its manual page, without the error number.
pub fn reason(error: &io::Error) -> String {
    let known = match error.kind() {
        io::ErrorKind::AddrInUse => "address in use",
        io::ErrorKind::AddrNotAvailable => "address not available",
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::ConnectionReset => "reset",
        io::ErrorKind::NotFound => "no such file or directory",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::TimedOut => "timed out",
        _ => "",
    };
    if !known.is_empty() && (error.raw_os_error().is_some() || error.get_ref().is_none()) {
        return known.to_owned();
    }
    let mut text = error.to_string();
    if let Some(number) = text.find(" (os error") {
        text.truncate(number);
    }
    match text.chars().next() {
        // "Invalid argument" stands in the middle of a sentence. Names such as "IPv6" stay.
        Some(first) if text.chars().nth(1).is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_loses_its_number_and_its_capital() {
        let error = io::Error::from_raw_os_error(libc::EINVAL);
        assert_eq!(reason(&error), "invalid argument");
        assert_eq!(reason(&io::Error::from_raw_os_error(libc::EADDRINUSE)), "address in use");
    }

    #[test]
    fn would_block_is_not_a_time_out() {
        let error = io::Error::from_raw_os_error(libc::EAGAIN);
        assert_eq!(reason(&error), "resource temporarily unavailable");
    }

    #[test]
    fn the_number_and_the_kind_come_from_the_source() {
        let error = Error::new("bind", "it", io::Error::from_raw_os_error(libc::EADDRINUSE));
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(Error::new("bind", "it", io::ErrorKind::Other).raw_os_error(), None);
    }

    #[test]
    fn an_error_with_its_own_message_keeps_it() {
        assert_eq!(
            reason(&io::Error::new(io::ErrorKind::NotFound, "no such host")),
            "no such host"
        );
        assert_eq!(reason(&io::Error::other("IPv6 is off")), "IPv6 is off");
    }
}
