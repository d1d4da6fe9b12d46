//! `resound serve`: flags to the options of a daemon.

mod arguments;

use resound::daemon;

pub(super) use self::arguments::Arguments;

pub(super) fn run(arguments: &Arguments) -> Result<(), resound::Error> {
    daemon::run(arguments.options(), |bound| arguments.warn_of_flags_without_use(bound))
}
