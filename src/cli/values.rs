//! Parsers of flag values.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use jiff::Timestamp;
use resound::daemon::LOOPS_MAX;
use resound::endpoint::{Endpoint, HostPort};
use resound::ping::LENGTH_MAX;
use resound::reactor::Spin;
use resound::send::TIMEOUT_MIN;
use resound::socket::{Keepalive, MSS_RANGE};
use resound::units::{parse_count, parse_size, parse_time};

pub(super) fn at_least_one(text: &str) -> Result<u64, String> {
    match parse_count(text)? {
        0 => Err("expected a count of at least 1, such as 4096".to_owned()),
        count => Ok(count),
    }
}

pub(super) fn buf_size(text: &str) -> Result<usize, String> {
    // setsockopt(2) takes the size as an `int`.
    let size = parse_size(text)?;
    match i32::try_from(size) {
        Ok(1..) => usize::try_from(size).map_err(|error| error.to_string()),
        _ => Err("expected a size from 1 to 2147483647 bytes, such as 256KiB".to_owned()),
    }
}

/// Routers that a packet may pass.
pub(super) fn hops(text: &str) -> Result<u8, String> {
    match parse_count(text).ok().and_then(|count| u8::try_from(count).ok()) {
        Some(hops @ 1..) => Ok(hops),
        _ => Err("expected a count from 1 to 255, such as 64".to_owned()),
    }
}

pub(super) fn segment_size(text: &str) -> Result<u16, String> {
    let size = parse_size(text).ok().and_then(|size| u16::try_from(size).ok());
    size.filter(|size| MSS_RANGE.contains(size)).ok_or_else(|| {
        let (least, most) = (MSS_RANGE.start(), MSS_RANGE.end());
        format!("expected a size from {least} to {most} bytes, such as 1400")
    })
}

/// The name of an algorithm that the kernel has or can load. Only the kernel knows which.
pub(super) fn congestion(text: &str) -> Result<String, String> {
    // TCP_CA_NAME_MAX, with the zero byte at the end.
    const NAME_BYTES_MAX: usize = 15;
    let is_name = text.bytes().all(|byte| byte.is_ascii_graphic());
    match is_name && (1..=NAME_BYTES_MAX).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected a name of 1 to {NAME_BYTES_MAX} bytes, such as cubic")),
    }
}

pub(super) fn busy_poll(text: &str) -> Result<Duration, String> {
    const MICROSECOND: Duration = Duration::from_micros(1);
    let time_max = Duration::from_micros(u64::from(i32::MAX.unsigned_abs()));
    match parse_time(text) {
        // setsockopt(2) takes whole microseconds in an int.
        Ok(time) if (MICROSECOND..=time_max).contains(&time) => Ok(time),
        _ => Err("expected a time from 1us to 35min, such as 50us".to_owned()),
    }
}

/// A start that is further ahead is a mistyped time, such as milliseconds instead of seconds.
const START_AHEAD_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// A moment to start at: RFC 3339, or Unix seconds. One that has passed is not refused here.
pub(super) fn moment(text: &str) -> Result<SystemTime, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let time = match is_number {
        true => parse_time(text).ok().map(|since| SystemTime::UNIX_EPOCH + since),
        false => text.parse::<Timestamp>().ok().and_then(|time| SystemTime::try_from(time).ok()),
    };
    let latest = SystemTime::now() + START_AHEAD_MAX;
    time.filter(|time| *time <= latest).ok_or_else(|| {
        "expected RFC 3339 or Unix seconds, at most 30 days ahead, such as \
         2026-11-27T09:35:33Z or 1795772133"
            .to_owned()
    })
}

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| {
        "expected a network or an address, such as 192.0.2.0/24 or 2001:db8::1".to_owned()
    })
}

pub(super) fn keepalive(text: &str) -> Result<Keepalive, String> {
    const SECOND: Duration = Duration::from_secs(1);
    match (text, parse_time(text)) {
        ("system", _) => Ok(Keepalive::System),
        ("off", _) => Ok(Keepalive::Off),
        (_, Ok(time)) if (SECOND..=Keepalive::AFTER_MAX).contains(&time) => {
            Ok(Keepalive::After(time))
        }
        _ => Err("expected a time from 1s to 32767s, such as 60s, or system or off".to_owned()),
    }
}

pub(super) fn threads(text: &str) -> Result<usize, String> {
    count_up_to(text, LOOPS_MAX)
}

pub(super) fn loops(text: &str) -> Result<usize, String> {
    count_up_to(text, resound::load::LOOPS_MAX)
}

fn count_up_to(text: &str, most: usize) -> Result<usize, String> {
    match parse_count(text).ok().and_then(|count| usize::try_from(count).ok()) {
        Some(count) if (1..=most).contains(&count) => Ok(count),
        _ => Err(format!("expected a count from 1 to {most}, such as 2")),
    }
}

pub(super) fn octal_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 && !text.starts_with('+') => Ok(mode),
        _ => Err("expected an octal mode from 0 to 0777, such as 0660".to_owned()),
    }
}

pub(super) fn probe_length(text: &str) -> Result<usize, String> {
    match usize::try_from(parse_size(text)?) {
        Ok(length @ 1..=LENGTH_MAX) => Ok(length),
        _ => Err("expected a size from 1 to 16MiB, such as 64".to_owned()),
    }
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match parse_time(text)? {
        time if time < TIMEOUT_MIN => {
            Err("expected a time of at least 1ms, such as 500ms".to_owned())
        }
        time => Ok(time),
    }
}

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

/// CPU numbers in the order in which they were typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuList(pub(super) Vec<usize>);

pub(super) fn cpu_list(text: &str) -> Result<CpuList, String> {
    let cpus: Option<Vec<usize>> = text.split(',').map(cpu_number).collect();
    cpus.map(CpuList).ok_or_else(|| "expected the numbers of CPUs, such as 0,1".to_owned())
}

fn cpu_number(text: &str) -> Option<usize> {
    let number = parse_count(text).ok().and_then(|number| usize::try_from(number).ok());
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    number.filter(|number| is_number && *number < resound::process::cpus::CPUS_MAX)
}

/// Parses the host and port of a listener. The port is required; with 0 the kernel picks one.
pub(super) fn host_port(text: &str) -> Result<HostPort, String> {
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
    fn a_cpu_list_is_numbers_separated_by_commas() {
        assert_eq!(cpu_list("0"), Ok(CpuList(vec![0])));
        assert_eq!(cpu_list("3,0,3"), Ok(CpuList(vec![3, 0, 3])));
        for text in ["", ",", "0,", ",0", "0,,1", "0, 1", "-1", "0-1", "+1", "1k", "a", "1048576"] {
            assert!(cpu_list(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_a_host_and_a_port_are_accepted_as_an_address_to_serve() {
        for (text, host, port) in [
            ("127.0.0.1:9100", "127.0.0.1", 9100),
            (":9100", "", 9100),
            ("[::1]:0", "::1", 0),
            ("localhost:1", "localhost", 1),
        ] {
            let parsed = HostPort { host: host.to_owned(), port };
            assert_eq!(host_port(text), Ok(parsed), "{text}");
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
            assert!(host_port(text).is_err_and(|error| error.contains("such as")), "{text}");
        }
    }
}
