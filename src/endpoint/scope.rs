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
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Scope::Tcp => ("tcp://", "tcp://127.0.0.1:7007"),
            Scope::Udp => ("udp://", "udp://127.0.0.1:7007"),
            Scope::Datagram => ("udp:// or unixgram:", "udp://127.0.0.1:7007"),
            Scope::Ip => ("tcp:// or udp://", "tcp://127.0.0.1:7007"),
        }
    }

    /// Checks that an endpoint uses these flags. Returns a warning about the others, which do not.
    /// Each place is an endpoint, or what stands for it, with its transport.
    ///
    /// # Errors
    ///
    /// No endpoint uses them. The error is one line with what was expected and an example.
    pub fn check(
        self,
        flags: &[&str],
        places: &[(String, Transport)],
    ) -> Result<Option<String>, String> {
        let others = places.iter().filter(|(_, transport)| !self.has(*transport));
        let others: Vec<_> = others.map(|(place, _)| place.as_str()).collect();
        if flags.is_empty() || others.is_empty() {
            return Ok(None);
        }
        let (flags, (expected, example)) = (flags.join(" and "), self.words());
        if others.len() == places.len() {
            return Err(format!(
                "{flags} cannot be used with {}: expected {expected}, such as {example}",
                others.join(" and ")
            ));
        }
        let others = others.join(" and ");
        Ok(Some(format!("{flags} used for {expected} only, and not for {others}")))
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
