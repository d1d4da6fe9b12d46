//! Which transports can use a setting, and how long a datagram may be.

use super::{Endpoint, Family, Transport};

/// The endpoints that can use a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// TCP alone.
    Tcp,
    /// UDP alone.
    Udp,
    /// UDP and Unix datagrams.
    Datagram,
    /// TCP and UDP.
    Ip,
}

impl Scope {
    fn has(self, transport: Transport) -> bool {
        match self {
            Scope::Tcp => transport == Transport::Tcp,
            Scope::Udp => transport == Transport::Udp,
            Scope::Datagram => !transport.is_stream(),
            Scope::Ip => matches!(transport, Transport::Tcp | Transport::Udp),
        }
    }

    /// Returns what such an endpoint is, and an example.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Scope::Tcp => ("tcp://", "tcp://127.0.0.1:7007"),
            Scope::Udp => ("udp://", "udp://127.0.0.1:7007"),
            Scope::Datagram => ("udp:// or unixgram:", "udp://127.0.0.1:7007"),
            Scope::Ip => ("tcp:// or udp://", "tcp://127.0.0.1:7007"),
        }
    }

    /// Returns true if at least one place uses such flags. Each place is an endpoint, or what
    /// stands for it, with its transport.
    pub fn has_any(self, places: &[(String, Transport)]) -> bool {
        places.iter().any(|(_, transport)| self.has(*transport))
    }

    /// Checks that at least one place uses this flag.
    ///
    /// # Errors
    ///
    /// None uses it. The error is one line with what was expected and an example.
    pub fn check(self, flag: &str, places: &[(String, Transport)]) -> Result<(), String> {
        if self.has_any(places) {
            return Ok(());
        }
        let (expected, example) = self.words();
        let others: Vec<_> = places.iter().map(|(place, _)| place.as_str()).collect();
        let others = others.join(" and ");
        Err(format!("{flag} cannot be used with {others}: expected {expected}, such as {example}"))
    }

    /// Returns a warning if places do not use these flags. They harm nothing there, so that one set
    /// of flags can serve endpoints of several kinds.
    pub fn warning(self, flags: &[&str], places: &[(String, Transport)]) -> Option<String> {
        let others = places.iter().filter(|(_, transport)| !self.has(*transport));
        let others: Vec<_> = others.map(|(place, _)| place.as_str()).collect();
        if flags.is_empty() || others.is_empty() {
            return None;
        }
        let (flags, (expected, _)) = (flags.join(" and "), self.words());
        if others.len() == places.len() {
            return Some(format!("{flags} without effect: no endpoint is {expected}"));
        }
        let others = others.join(" and ");
        Some(format!("{flags} used for {expected} only, and not for {others}"))
    }
}

/// Returns the endpoints with their transports.
pub fn places<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Vec<(String, Transport)> {
    let place = |endpoint: &Endpoint| (endpoint.to_string(), endpoint.transport());
    endpoints.into_iter().map(place).collect()
}

/// Checks that one datagram can carry a message of `length` bytes. `name` is the flag that gave the
/// length.
///
/// # Errors
///
/// The message is too long. The error is one line with what was expected and an example.
pub fn check_datagram(
    length: u64,
    name: &str,
    transport: Transport,
    family: Family,
) -> Result<(), String> {
    let what = if transport == Transport::Udp { "UDP" } else { "Unix" };
    match transport.datagram_bytes_max(family) {
        Some(most) if length > most => Err(format!(
            "invalid value '{length}' for '{name}': expected at most {most} bytes for a {what} \
             datagram, such as 1200"
        )),
        _ => Ok(()),
    }
}
