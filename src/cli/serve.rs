//! `resound serve`: flags to the options of a daemon.

mod arguments;

use resound::daemon;

pub(super) use self::arguments::{Arguments, at_least_one, buf_size};

pub(super) fn run(arguments: &Arguments) -> Result<(), resound::Error> {
    daemon::run(arguments.options(), |bound| arguments.warn_of_flags_without_use(bound))
}
