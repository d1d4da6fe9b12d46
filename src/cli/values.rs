//! Values of flags that several commands have.

use std::time::Duration;

use resound::endpoint::{Endpoint, HostPort};
use resound::reactor::Spin;
use resound::units::{parse_count, parse_time};

pub(super) fn spin(text: &str) -> Result<Spin, String> {
    match text {
        "always" => Ok(Spin::Always),
        _ => match parse_time(text) {
            Ok(Duration::ZERO) => Ok(Spin::Never),
            Ok(time) => Ok(Spin::For(time)),
            Err(_) => Err("expected a time such as 50us, 0, or always".to_owned()),
        },
    }
}

pub(super) fn cpu(text: &str) -> Result<usize, String> {
    cpu_number(text).ok_or_else(|| "expected the number of a CPU, such as 1".to_owned())
}

/// CPUs in the order typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuList(pub(super) Vec<usize>);

pub(super) fn cpu_list(text: &str) -> Result<CpuList, String> {
    let cpus: Option<Vec<usize>> = text.split(',').map(cpu_number).collect();
    cpus.map(CpuList).ok_or_else(|| "expected the numbers of CPUs, such as 0,1".to_owned())
}

fn cpu_number(text: &str) -> Option<usize> {
    let number = parse_count(text).ok().and_then(|number| usize::try_from(number).ok());
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    number.filter(|number| is_number && *number < rustix::thread::CpuSet::MAX_CPU)
}

/// A host and a port to listen on. The port must be named; 0 lets the system pick one.
pub(super) fn parse_host_port(text: &str) -> Result<HostPort, String> {
    let port = text.rsplit_once(':').map_or("", |(_, port)| port);
    let has_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(Endpoint::Tcp(host_port)) if has_port && !text.contains('/') => Ok(host_port),
        _ => Err("expected HOST:PORT, such as 127.0.0.1:9100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_is_numbers_with_commas_between() {
        assert_eq!(cpu_list("0"), Ok(CpuList(vec![0])));
        assert_eq!(cpu_list("3,0,3"), Ok(CpuList(vec![3, 0, 3])));
        for text in ["", ",", "0,", ",0", "0,,1", "0, 1", "-1", "0-1", "+1", "1k", "a", "1048576"] {
            assert!(cpu_list(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_host_and_a_port_are_where_to_serve_and_nothing_else_is() {
        for (text, host, port) in [
            ("127.0.0.1:9100", "127.0.0.1", 9100),
            (":9100", "", 9100),
            ("[::1]:0", "::1", 0),
            ("localhost:1", "localhost", 1),
        ] {
            let host_port = HostPort { host: host.to_owned(), port };
            assert_eq!(parse_host_port(text), Ok(host_port), "{text}");
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
            assert!(parse_host_port(text).is_err_and(|error| error.contains("such as")), "{text}");
        }
    }
}
