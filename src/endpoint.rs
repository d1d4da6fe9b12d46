//! Endpoints: the addresses to listen on and to send to, in one text form.

mod family;
mod listener;
mod lookup;
mod resolved;
mod scope;

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

pub use self::family::Family;
#[cfg(feature = "program")]
pub(crate) use self::lookup::look_up_timed_out;
pub use self::resolved::ResolvedEndpoint;
pub use self::scope::{Scope, check_datagram, places};

/// The default port. The port of echo is 7 (RFC 862), but binding it needs privilege.
pub const DEFAULT_PORT: u16 = 7007;

/// The longest path or abstract name of a Unix socket: `sun_path` of unix(7) without its last byte.
pub const UNIX_NAME_BYTES_MAX: usize = 107;

/// The longest Unix datagram: longer than any UDP datagram, and more than any default send buffer
/// takes.
const UNIX_DATAGRAM_BYTES_MAX: u64 = 4 << 20;

/// The longest host name (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// The longest name of a network interface: `IFNAMSIZ` of netdevice(7) less its last byte.
const INTERFACE_BYTES_MAX: usize = 15;

/// One of the four transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A TCP stream.
    Tcp,
    /// UDP datagrams.
    Udp,
    /// A Unix stream.
    Unix,
    /// Unix datagrams.
    Unixgram,
}

impl Transport {
    /// All transports, in the order in which reports name them.
    pub const ALL: [Transport; 4] =
        [Transport::Tcp, Transport::Udp, Transport::Unix, Transport::Unixgram];

    /// Returns the scheme of the transport's endpoints.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Unix => "unix",
            Transport::Unixgram => "unixgram",
        }
    }

    /// Returns the longest message that one datagram can carry, in bytes. `None` for streams.
    ///
    /// ```
    /// use resound::endpoint::{Family, Transport};
    ///
    /// assert_eq!(Transport::Udp.datagram_bytes_max(Family::V4), Some(65_507));
    /// ```
    pub fn datagram_bytes_max(self, family: Family) -> Option<u64> {
        match (self, family) {
            (Transport::Udp, Family::V4) => Some(65_507),
            (Transport::Udp, Family::V6) => Some(65_527),
            (Transport::Unixgram, _) => Some(UNIX_DATAGRAM_BYTES_MAX),
            (Transport::Tcp | Transport::Unix, _) => None,
        }
    }

    /// Returns true if the transport is a byte stream without message boundaries.
    pub fn is_stream(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Unix)
    }
}

/// A host and a port, before the look-up of the host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name or an IP address (IPv6 without brackets, with its zone). An empty host means every
    /// address of both families for a listener, and loopback for a client. A listener may have
    /// `%DEV` after it: see [`HostPort::interface`].
    pub host: String,
    /// The port. With 0 the system picks one.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// The name of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixName {
    /// A file.
    Path(PathBuf),
    /// A Linux abstract name, without the leading zero byte or `@`.
    Abstract(String),
}

impl fmt::Display for UnixName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The parser would read two slashes as part of the scheme, so this adds two.
            UnixName::Path(path) if path.as_os_str().as_encoded_bytes().starts_with(b"//") => {
                write!(formatter, "//{}", path.display())
            }
            UnixName::Path(path) => path.display().fmt(formatter),
            UnixName::Abstract(name) => write!(formatter, "@{name}"),
        }
    }
}

/// An address to listen on or to send to.
///
/// Text forms: `tcp://HOST:PORT`, `udp://HOST:PORT`, `unix:PATH`, `unixgram:PATH`, the abstract
/// `unix:@NAME` and `unixgram:@NAME`, and `unix:///abs/path`. `HOST` is an IPv4 address, an IPv6
/// address in brackets (with a zone: `[fe80::1%eth0]`), a name, or empty. A listener may name its
/// interface, `HOST%DEV`. `HOST:PORT` without a scheme is TCP. The default port is
/// [`DEFAULT_PORT`].
///
/// ```
/// use resound::endpoint::Endpoint;
///
/// # fn main() -> Result<(), resound::endpoint::ParseEndpointError> {
/// let endpoint: Endpoint = "127.0.0.1:7007".parse()?;
/// assert_eq!(endpoint.to_string(), "tcp://127.0.0.1:7007");
/// let endpoint: Endpoint = "unix:///run/echo.sock".parse()?;
/// assert_eq!(endpoint.to_string(), "unix:/run/echo.sock");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// TCP.
    Tcp(HostPort),
    /// UDP.
    Udp(HostPort),
    /// A Unix stream socket.
    Unix(UnixName),
    /// A Unix datagram socket.
    Unixgram(UnixName),
}

impl Endpoint {
    /// Returns the transport of this endpoint.
    pub fn transport(&self) -> Transport {
        match self {
            Endpoint::Tcp(_) => Transport::Tcp,
            Endpoint::Udp(_) => Transport::Udp,
            Endpoint::Unix(_) => Transport::Unix,
            Endpoint::Unixgram(_) => Transport::Unixgram,
        }
    }

    /// The host and the port, if the transport has them.
    pub fn host_port(&self) -> Option<&HostPort> {
        match self {
            Endpoint::Tcp(host_port) | Endpoint::Udp(host_port) => Some(host_port),
            Endpoint::Unix(_) | Endpoint::Unixgram(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.transport().name();
        match self {
            Endpoint::Tcp(address) | Endpoint::Udp(address) => {
                write!(formatter, "{scheme}://{address}")
            }
            Endpoint::Unix(name) | Endpoint::Unixgram(name) => write!(formatter, "{scheme}:{name}"),
        }
    }
}

/// An error in the text of an endpoint. Its message says what was expected, with an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseEndpointError {
    wrong: String,
    expected: &'static str,
}

impl fmt::Display for ParseEndpointError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; expected {}", self.wrong, self.expected)
    }
}

impl std::error::Error for ParseEndpointError {}

const EXPECTED_ENDPOINT: &str = "tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or unixgram:PATH, \
                                 as in tcp://127.0.0.1:7007";
const EXPECTED_PORT: &str = "a port from 0 to 65535, as in tcp://127.0.0.1:7007";
const EXPECTED_HOST: &str = "an address or a name, as in tcp://127.0.0.1:7007 or tcp://[::1]:7007";
const EXPECTED_PATH: &str =
    "a path of at most 107 bytes, as in unix:/run/echo.sock, or a name, as in unix:@echo";

fn wrong(wrong: impl Into<String>, expected: &'static str) -> ParseEndpointError {
    ParseEndpointError { wrong: wrong.into(), expected }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Endpoint, ParseEndpointError> {
        if text.is_empty() {
            return Err(wrong("an empty endpoint", EXPECTED_ENDPOINT));
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            let message = format!("the control character {control:?} in an endpoint");
            return Err(wrong(message, EXPECTED_ENDPOINT));
        }
        // Unix schemes come first, because a path may contain "://" as well.
        if let Some(name) = text.strip_prefix("unix:") {
            return Ok(Endpoint::Unix(unix_name(name)?));
        }
        if let Some(name) = text.strip_prefix("unixgram:") {
            return Ok(Endpoint::Unixgram(unix_name(name)?));
        }
        if let Some((scheme, address)) = text.split_once("://") {
            return match scheme {
                "tcp" => Ok(Endpoint::Tcp(host_port(address)?)),
                "udp" => Ok(Endpoint::Udp(host_port(address)?)),
                _ => Err(wrong(format!("unknown scheme '{}'", shown(scheme)), EXPECTED_ENDPOINT)),
            };
        }
        if let Some(("tcp" | "udp", _)) = text.split_once(':') {
            return Err(wrong("'//' is missing after the scheme", EXPECTED_ENDPOINT));
        }
        if !text.contains(':') {
            return Err(wrong(
                format!("'{}' has no scheme and no port", shown(text)),
                EXPECTED_ENDPOINT,
            ));
        }
        Ok(Endpoint::Tcp(host_port(text)?))
    }
}

fn host_port(text: &str) -> Result<HostPort, ParseEndpointError> {
    if text.is_empty() {
        return Err(wrong("no host and no port", EXPECTED_HOST));
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(wrong("'[' without ']'", EXPECTED_HOST));
        };
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(wrong(format!("'{}' after ']'", shown(after)), EXPECTED_PORT)),
        };
        (ipv6_host(host)?, port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(wrong("an IPv6 address without brackets", EXPECTED_HOST));
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        (name_host(host)?, port)
    };
    Ok(HostPort { host, port: port.map_or(Ok(DEFAULT_PORT), parse_port)? })
}

fn ipv6_host(text: &str) -> Result<String, ParseEndpointError> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let bad_zone = |zone: &str| zone.is_empty() || zone.len() > HOST_BYTES_MAX || has_space(zone);
    if address.parse::<Ipv6Addr>().is_err() || zone.is_some_and(bad_zone) {
        return Err(wrong(format!("'[{}]' is not an IPv6 address", shown(text)), EXPECTED_HOST));
    }
    Ok(text.to_owned())
}

fn name_host(text: &str) -> Result<String, ParseEndpointError> {
    if text.len() > HOST_BYTES_MAX {
        return Err(wrong(format!("a host of {} bytes", text.len()), EXPECTED_HOST));
    }
    let (host, interface) = match text.split_once('%') {
        Some((host, interface)) => (host, Some(interface)),
        None => (text, None),
    };
    if is_bad(host) || interface.is_some_and(|name| !is_interface(name)) {
        return Err(wrong(format!("'{}' is not a host", shown(text)), EXPECTED_HOST));
    }
    Ok(text.to_owned())
}

/// Whether this may be the name of a network interface.
pub(crate) fn is_interface(name: &str) -> bool {
    (1..=INTERFACE_BYTES_MAX).contains(&name.len()) && !is_bad(name) && !name.contains(':')
}

fn is_bad(text: &str) -> bool {
    has_space(text) || text.contains(['/', '[', ']', '@', '?', '#', '%'])
}

fn parse_port(text: &str) -> Result<u16, ParseEndpointError> {
    // The parser of u16 also accepts "+7".
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits => Ok(port),
        _ => Err(wrong(format!("'{}' is not a port", shown(text)), EXPECTED_PORT)),
    }
}

fn unix_name(text: &str) -> Result<UnixName, ParseEndpointError> {
    let text = match text.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err(wrong("no absolute path after '//'", EXPECTED_PATH)),
        None => text,
    };
    let (bytes, name) = match text.strip_prefix('@') {
        Some(name) => (name, UnixName::Abstract(name.to_owned())),
        None => (text, UnixName::Path(PathBuf::from(text))),
    };
    if bytes.is_empty() {
        return Err(wrong("no path", EXPECTED_PATH));
    }
    if bytes.len() > UNIX_NAME_BYTES_MAX {
        return Err(wrong(format!("a path of {} bytes", bytes.len()), EXPECTED_PATH));
    }
    if cfg!(not(any(target_os = "linux", target_os = "android"))) && text.starts_with('@') {
        return Err(wrong("an abstract name, which only Linux has", EXPECTED_PATH));
    }
    Ok(name)
}

fn has_space(text: &str) -> bool {
    text.contains(char::is_whitespace)
}

/// Returns what the user typed, cut to a length that fits a line.
fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        text.parse::<Endpoint>()
            .map_or_else(|error| error.to_string(), |endpoint| endpoint.to_string())
    }

    #[test]
    fn every_documented_form_parses() {
        for (text, canonical) in [
            ("tcp://127.0.0.1:80", "tcp://127.0.0.1:80"),
            ("udp://[::1]:0", "udp://[::1]:0"),
            ("udp://[fe80::1%eth0]:9", "udp://[fe80::1%eth0]:9"),
            ("tcp://127.0.0.1%lo:9", "tcp://127.0.0.1%lo:9"),
            ("udp://[::1%lo]:9", "udp://[::1%lo]:9"),
            ("tcp://%eth0", "tcp://%eth0:7007"),
            ("tcp://localhost", "tcp://localhost:7007"),
            ("tcp://[::1]", "tcp://[::1]:7007"),
            ("tcp://:7", "tcp://:7"),
            (":7", "tcp://:7"),
            ("localhost:7", "tcp://localhost:7"),
            ("[::1]:7", "tcp://[::1]:7"),
            ("unix:/a/b", "unix:/a/b"),
            ("unix:relative", "unix:relative"),
            ("unix:///a/b", "unix:/a/b"),
            ("unix:////a/b", "unix:////a/b"),
            ("unix:a://b", "unix:a://b"),
            ("unixgram:@a://b", "unixgram:@a://b"),
            ("unixgram:///a/b", "unixgram:/a/b"),
            ("unix:@name", "unix:@name"),
            ("unixgram:@name", "unixgram:@name"),
        ] {
            assert_eq!(parsed(text), canonical);
        }
    }

    /// case X9: a path over 107 bytes is refused with its length.
    #[test]
    fn wrong_endpoints_say_what_was_expected() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, part) in [
            ("", "empty endpoint"),
            ("7007", "no scheme and no port"),
            ("http://localhost", "unknown scheme 'http'"),
            ("tcp:127.0.0.1:7", "'//' is missing"),
            ("tcp://", "no host and no port"),
            ("tcp://a:b", "'b' is not a port"),
            ("tcp://a:", "'' is not a port"),
            ("tcp://a:65536", "'65536' is not a port"),
            ("tcp://a:+7", "'+7' is not a port"),
            ("tcp://::1:7", "without brackets"),
            ("tcp://[::1:7", "'[' without ']'"),
            ("tcp://[::1]7", "'7' after ']'"),
            ("tcp://[nonsense]:7", "not an IPv6 address"),
            ("tcp://[fe80::1%]:7", "not an IPv6 address"),
            ("tcp://a b:7", "not a host"),
            ("udp://a/b:7", "not a host"),
            ("udp://127.0.0.1%:7", "not a host"),
            ("udp://127.0.0.1%a%b:7", "not a host"),
            ("udp://127.0.0.1%sixteen-bytes-ok:7", "not a host"),
            ("unix:", "no path"),
            ("unix:@", "no path"),
            ("unix://relative", "no absolute path"),
            ("unix:a\nb", "control character"),
            (long.as_str(), "a path of 108 bytes"),
        ] {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(error.contains(part), "{text:?} gave {error:?}");
            assert!(error.contains("; expected ") && error.contains("as in"), "{error:?}");
            assert!(!error.contains('\n'), "{error:?}");
        }
    }
}
