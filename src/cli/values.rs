//! Parsers of flag values.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use resound::daemon::LOOPS_MAX;
use resound::endpoint::Transport;
use resound::measured::Mode;
use resound::ping::LENGTH_MAX;
use resound::send::TIMEOUT_MIN;
use resound::socket::MSS_RANGE;
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

/// Parses a transport by its name.
pub(super) fn transport() -> impl TypedValueParser<Value = Transport> {
    let named = |name: String| Transport::ALL.into_iter().find(|known| known.name() == name);
    PossibleValuesParser::new(Transport::ALL.map(Transport::name))
        .try_map(move |name| named(name).ok_or("expected a transport, such as tcp"))
}

pub(super) fn mode() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(["echo", "connect"]).map(|name| match name.as_str() {
        "connect" => Mode::Connect,
        _ => Mode::Echo,
    })
}

/// Checks that each of `takers` gets one of the connections, and one of the messages.
pub(super) fn can_be_dealt_out(
    connections: u64,
    count: Option<u64>,
    takers: u64,
    names: &str,
) -> Result<(), String> {
    for (flag, number) in [("--connections", Some(connections)), ("--count", count)] {
        if let Some(number) = number.filter(|number| *number < takers) {
            return Err(format!(
                "{flag} {number} cannot be dealt out to {names}: expected at least one for each, \
                 such as {flag} {takers}"
            ));
        }
    }
    Ok(())
}
