//! The address of a listener without its transport.

use std::str::FromStr;

use super::{Endpoint, HostPort};

/// The address of a listener. The port is required; with 0 the kernel picks one.
impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<HostPort, String> {
        let port = text.rsplit_once(':').map_or("", |(_, port)| port);
        let has_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(Endpoint::Tcp(host_port)) if has_port && !text.contains('/') => Ok(host_port),
            _ => Err("expected HOST:PORT, such as 127.0.0.1:9100".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_and_a_port_are_accepted_as_an_address_to_serve() {
        for (text, host, port) in [
            ("127.0.0.1:9100", "127.0.0.1", 9100),
            (":9100", "", 9100),
            ("[::1]:0", "::1", 0),
            ("localhost:1", "localhost", 1),
        ] {
            let parsed = HostPort { host: host.to_owned(), port };
            assert_eq!(text.parse(), Ok(parsed), "{text}");
        }
        for text in [
            "",
            ":",
            "9100",
            "localhost",
            "127.0.0.1",
            "127.0.0.1:",
            "[::1]",
            "::1:9",
            "a:b",
            "a:65536",
            "tcp://127.0.0.1:9100",
            "http://127.0.0.1:9100",
            "udp://127.0.0.1:1",
            "unix:/a:1",
            "127.0.0.1:9100/metrics",
            "a b:1",
        ] {
            assert!(
                text.parse::<HostPort>().is_err_and(|error| error.contains("such as")),
                "{text}"
            );
        }
    }
}
