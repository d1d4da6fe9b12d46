//! The moment at which the parts of a load start together.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::units::parse_time;

/// A start that is further ahead is a mistyped time, such as milliseconds instead of seconds.
const START_AHEAD_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Parses a moment to start at: RFC 3339, or Unix seconds. One that has passed is not refused here.
///
/// # Errors
///
/// Says what is expected.
pub fn parse_start(text: &str) -> Result<SystemTime, String> {
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

/// Checks that a warm-up fits before the start.
///
/// # Errors
///
/// Says by how much the start is too early, and what is expected.
pub fn check_start(start_at: SystemTime, warmup: Duration) -> Result<(), String> {
    match start_at.duration_since(SystemTime::now()) {
        Ok(left) if left >= warmup => Ok(()),
        Ok(left) => Err(format!(
            "{} is too late: {left:.1?} are left, and the warm-up takes {warmup:?}; expected a \
             later time or a shorter warm-up, such as --warmup 0",
            humantime::format_rfc3339(start_at)
        )),
        Err(error) => Err(format!(
            "{} is too late: it was {:.1?} ago; expected a time ahead, such as \
             $(date +%s --date '10 seconds')",
            humantime::format_rfc3339(start_at),
            error.duration()
        )),
    }
}
