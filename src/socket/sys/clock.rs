//! What the kernel knows about the error of its clock.

use std::mem;
use std::time::Duration;

use crate::socket::ClockError;

/// Asks adjtimex(2), which changes nothing without a mode. `None` if that is not permitted.
pub(crate) fn clock_error() -> Option<ClockError> {
    // SAFETY: all fields are integers, for which zeros are valid. A mode of 0 only reads.
    let mut state: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: `state` outlives the call, which writes only into it.
    let result = unsafe { libc::adjtimex(&mut state) };
    let micros = |value: libc::c_long| u64::try_from(value).ok().map(Duration::from_micros);
    if result < 0 {
        return None;
    }
    Some(ClockError {
        is_synchronized: result != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0,
        estimated: micros(state.esterror)?,
        most: micros(state.maxerror)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synchronized_clock_has_a_bounded_error() {
        if let Some(error) = clock_error().filter(|error| error.is_synchronized) {
            // The kernel calls a clock unsynchronized from 16 s on (NTP_PHASE_LIMIT).
            assert!(error.most <= Duration::from_secs(16), "{error:?}");
        }
    }
}
