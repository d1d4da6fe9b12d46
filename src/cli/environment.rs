//! Flags from the environment: `RESOUND_SERVE_METRICS=127.0.0.1:9100` for `serve --metrics`.
//!
//! The variables become words of the command line, before those that the user typed. One parser
//! then reads both, and its messages name the flag in either case.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

use resound::escape;

use super::usage::options_in;

/// What a variable without a value says if its flag takes none.
const YES: [&str; 4] = ["1", "true", "yes", "on"];
const NO: [&str; 4] = ["0", "false", "no", "off"];

/// The end of each command's help: where else its flags can come from.
pub(super) fn help(command: &Command) -> String {
    let prefix = variable_prefix(command);
    format!(
        "Every flag can also come from the environment: {prefix}NAME=VALUE, with - as _ and 1 for \
         a flag without a value. The command line wins."
    )
}

/// A command line with the flags from the environment.
#[derive(Debug)]
pub(super) struct Words {
    /// The program, the subcommand, the flags from the environment, and the rest as typed.
    pub(super) all: Vec<OsString>,
    /// The variables whose values are among them, each with the number of its words.
    variables: Vec<(String, usize)>,
}

/// The place of the first word from the environment, behind the subcommand.
const FIRST_ADDED: usize = 2;

impl Words {
    /// A command line alone.
    pub(super) fn typed(all: Vec<OsString>) -> Words {
        Words { all, variables: Vec::new() }
    }

    /// Returns the end of a message about a mistake in these words: the variables without which
    /// there would be another mistake, or none.
    pub(super) fn blame(&self, mistake_in: impl Fn(&[OsString]) -> Option<String>) -> String {
        if self.variables.is_empty() {
            return String::new();
        }
        let mistake =
            |words: &[OsString]| mistake_in(words).as_deref().map(gist).map(str::to_owned);
        let whole = mistake(&self.all);
        let mut names = Vec::new();
        let mut at = FIRST_ADDED;
        for (name, count) in &self.variables {
            let without = [&self.all[..at], &self.all[at + count..]].concat();
            if mistake(&without) != whole {
                names.push(name.as_str());
            }
            at += count;
        }
        match names.is_empty() {
            true => String::new(),
            false => format!("; from the environment: {}", names.join(", ")),
        }
    }

    /// Adds the flags from the environment to a command line. A flag that was typed wins over its
    /// own variable, and over those of the flags that it cannot be used with. An empty variable
    /// counts as unset.
    ///
    /// # Errors
    ///
    /// The value of a flag that takes none is neither yes nor no.
    pub(super) fn with_environment(
        program: &Command,
        typed: Vec<OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Words, (String, Vec<OsString>)> {
        let mut words = Words::typed(typed);
        let Some(command) = words.all.get(1).and_then(|name| program.find_subcommand(name)) else {
            return Ok(words);
        };
        let given = typed_args(command, &words.all[2..]);
        if given.iter().any(|arg| ["help", "version"].contains(&arg.get_id().as_str())) {
            return Ok(words);
        }
        let mut added = Vec::new();
        for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
            let value_of = |name: &String| variable(name).filter(|value| !value.is_empty());
            let mut names = variable_names(command, arg);
            let found = names.find_map(|name| value_of(&name).map(|value| (name, value)));
            let Some((name, value)) = found else { continue };
            if given.iter().any(|other| excludes(command, arg, other)) {
                continue;
            }
            match flag_words(arg, &value) {
                Ok(flags) if flags.is_empty() => {}
                Ok(flags) => {
                    words.variables.push((name, flags.len()));
                    added.extend(flags);
                }
                Err(expected) => {
                    let value = escape::shortened(&escape::one_line(&value.to_string_lossy()));
                    return Err((
                        format!("invalid value '{value}' for {name}: {expected}"),
                        words.all,
                    ));
                }
            }
        }
        words.all.splice(FIRST_ADDED..FIRST_ADDED, added);
        Ok(words)
    }
}

fn variable_prefix(command: &Command) -> String {
    format!("RESOUND_{}_", command.get_name().to_uppercase())
}

/// Returns the variables of a flag: `RESOUND_SERVE_MAX_CONNECTIONS`, then those of its aliases.
fn variable_names(command: &Command, arg: &Arg) -> impl Iterator<Item = String> {
    let own = arg.get_long().unwrap_or(arg.get_id().as_str());
    let names = std::iter::once(own).chain(arg.get_visible_aliases().into_iter().flatten());
    let prefix = variable_prefix(command);
    names.map(move |name| prefix.clone() + &name.to_uppercase().replace('-', "_"))
}

/// Returns what a message is about: the text before the details. These may name the time left.
fn gist(mistake: &str) -> &str {
    mistake.split(": ").next().unwrap_or_default()
}

/// Returns the arguments that were typed.
fn typed_args<'a>(command: &'a Command, words: &[OsString]) -> Vec<&'a Arg> {
    let mut options = Vec::new();
    let mut words = words.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        if word == "--" || !word.starts_with('-') {
            options.extend(command.get_positionals().next());
            if word == "--" {
                break;
            }
        }
        for (option, joined) in options_in(command, &word) {
            if option.get_action().takes_values() && joined.is_none() {
                words.next();
            }
            options.push(option);
        }
    }
    options
}

/// Returns true if a flag that was typed leaves no room for this one.
fn excludes(command: &Command, arg: &Arg, typed: &Arg) -> bool {
    let conflict = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
    };
    arg.get_id() == typed.get_id() || conflict(arg, typed) || conflict(typed, arg)
}

/// Returns the words that give this flag this value.
fn flag_words(arg: &Arg, value: &OsStr) -> Result<Vec<OsString>, String> {
    let flag = match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => return Ok(Vec::new()),
    };
    let joined = |value: &OsStr| {
        let mut word = OsString::from(format!("{flag}="));
        word.push(value);
        word
    };
    match arg.get_action() {
        ArgAction::Append => {
            let values = value.to_string_lossy();
            let values = values.split(',').map(str::trim).filter(|value| !value.is_empty());
            Ok(values.map(|value| joined(value.as_ref())).collect())
        }
        action if action.takes_values() => Ok(vec![joined(value)]),
        action => {
            let text = value.to_string_lossy().to_lowercase();
            let count = match text.parse::<u8>() {
                Ok(count) if matches!(action, ArgAction::Count) => usize::from(count),
                _ if YES.contains(&text.as_str()) => 1,
                _ if NO.contains(&text.as_str()) => 0,
                _ if matches!(action, ArgAction::Count) => {
                    return Err("expected a number of times, such as 1".to_owned());
                }
                _ => return Err("expected 1 or 0, such as 1".to_owned()),
            };
            Ok(vec![OsString::from(flag); count])
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Cli;
    use super::super::usage::mistake_in;
    use super::*;

    fn words(typed: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        let mut program = Cli::command();
        program.build();
        let typed = typed.split(' ').map(OsString::from).collect();
        let value = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        };
        match Words::with_environment(&program, typed, value) {
            Ok(words) => Ok(words.all.join(OsStr::new(" ")).into_string().unwrap()),
            Err((error, _)) => Err(error),
        }
    }

    #[test]
    fn a_variable_becomes_a_flag_before_the_typed_words() {
        let variables = [("RESOUND_SERVE_MAX_CONNECTIONS", "10"), ("RESOUND_BENCH_RATE", "5")];
        assert_eq!(
            words("resound serve tcp://:7", &variables).unwrap(),
            "resound serve --max-connections=10 tcp://:7"
        );
        assert_eq!(words("resound send tcp://:7", &variables).unwrap(), "resound send tcp://:7");
    }

    #[test]
    fn a_typed_flag_wins_over_its_variable_however_it_is_typed() {
        let variables = [("RESOUND_BENCH_CONNECTIONS", "7"), ("RESOUND_BENCH_QUIET", "1")];
        for line in ["bench -c 5", "bench -c5", "bench --connections 5", "bench --connections=5"] {
            let line = format!("resound {line}");
            assert_eq!(words(&line, &variables[..1]).unwrap(), line);
        }
        // The word behind an option is its value.
        assert_eq!(
            words("resound bench --label -c", &variables[..1]).unwrap(),
            "resound bench --connections=7 --label -c"
        );
    }

    #[test]
    fn a_typed_flag_wins_over_the_variable_of_a_flag_that_it_cannot_be_used_with() {
        for (line, variable) in [
            ("resound serve --reply x", "RESOUND_SERVE_DISCARD"),
            ("resound serve --discard", "RESOUND_SERVE_REPLY"),
            ("resound serve -4", "RESOUND_SERVE_IPV6"),
            ("resound serve -6", "RESOUND_SERVE_IPV4"),
        ] {
            assert_eq!(words(line, &[(variable, "1")]).unwrap(), line, "{variable}");
        }
    }

    #[test]
    fn a_flag_without_a_value_takes_yes_and_no_in_the_usual_ways() {
        for yes in ["1", "true", "YES", "on"] {
            let line = words("resound serve", &[("RESOUND_SERVE_SANDBOX", yes)]).unwrap();
            assert_eq!(line, "resound serve --sandbox", "{yes}");
        }
        for no in ["0", "False", "no", "off", ""] {
            let line = words("resound serve", &[("RESOUND_SERVE_SANDBOX", no)]).unwrap();
            assert_eq!(line, "resound serve", "{no:?}");
        }
        let error = words("resound serve", &[("RESOUND_SERVE_SANDBOX", "maybe")]).unwrap_err();
        assert_eq!(
            error,
            "invalid value 'maybe' for RESOUND_SERVE_SANDBOX: expected 1 or 0, such as 1"
        );
    }

    #[test]
    fn the_alias_of_a_flag_has_a_variable_too() {
        let line = words("resound bench", &[("RESOUND_BENCH_SIZE", "99")]).unwrap();
        assert_eq!(line, "resound bench --length=99");
    }

    #[test]
    fn a_flag_that_counts_takes_a_number() {
        let line = words("resound serve", &[("RESOUND_SERVE_VERBOSE", "2")]).unwrap();
        assert_eq!(line, "resound serve --verbose --verbose");
    }

    #[test]
    fn a_repeatable_flag_takes_a_list_with_commas() {
        let line = words("resound serve", &[("RESOUND_SERVE_ALLOW", "10.0.0.0/8, ::1")]).unwrap();
        assert_eq!(line, "resound serve --allow=10.0.0.0/8 --allow=::1");
    }

    #[test]
    fn every_flag_of_every_command_has_a_variable_of_its_own() {
        let mut program = Cli::command();
        program.build();
        for command in program.get_subcommands() {
            let options = || command.get_arguments().filter(|arg| !arg.is_positional());
            let mut names: Vec<_> =
                options().flat_map(|arg| variable_names(command, arg)).collect();
            names.sort_unstable();
            names.dedup();
            let count = options().flat_map(|arg| variable_names(command, arg)).count();
            assert_eq!(names.len(), count, "{}", command.get_name());
            for arg in options() {
                assert!(arg.get_long().is_some(), "{}: {}", command.get_name(), arg.get_id());
            }
        }
    }

    fn blamed(typed: &str, variables: &[(&str, &str)]) -> String {
        let typed = typed.split(' ').map(OsString::from).collect();
        let value = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let words = Words::with_environment(&Cli::command(), typed, value).unwrap();
        assert!(mistake_in(&words.all).is_some(), "{words:?}");
        words.blame(mistake_in)
    }

    #[test]
    fn only_the_variable_that_holds_a_mistake_is_blamed() {
        let rate = ("RESOUND_BENCH_RATE", "fast");
        let others = [
            ("RESOUND_BENCH_CONNECTIONS", "7"),
            ("RESOUND_BENCH_LENGTH", "9"),
            ("RESOUND_BENCH_NAGLE", "1"),
        ];
        let all = [&others[..], &[rate]].concat();
        assert_eq!(blamed("resound bench", &all), "; from the environment: RESOUND_BENCH_RATE");
        // A typed mistake is the fault of no variable.
        for line in ["bench -r fast", "bench --frobnicate", "bench tcp://a:1 b", "bench -c 0"] {
            assert_eq!(blamed(&format!("resound {line}"), &others), "", "{line}");
        }
        assert_eq!(blamed("resound ping", &[("RESOUND_PING_COUNT", "1")]), "", "no endpoint");
        // A mistake that only a check of several flags finds.
        let mode = ("RESOUND_BENCH_MODE", "connect");
        let line = "resound bench udp://127.0.0.1:1";
        let blame = blamed(line, &[others[0], mode]);
        assert_eq!(blame, "; from the environment: RESOUND_BENCH_MODE");
        // Two that exclude each other are both to blame.
        let both = [("RESOUND_SERVE_IPV4", "1"), ("RESOUND_SERVE_IPV6", "1")];
        let blame = blamed("resound serve", &both);
        assert_eq!(blame, "; from the environment: RESOUND_SERVE_IPV4, RESOUND_SERVE_IPV6");
    }

    #[test]
    fn a_typed_flag_wins_over_a_variable_with_a_wrong_value() {
        let wrong = [("RESOUND_BENCH_RATE", "fast")];
        assert_eq!(words("resound bench -r 5", &wrong).unwrap(), "resound bench -r 5");
        let transport = [("RESOUND_BENCH_TRANSPORT", "udp")];
        let line = "resound bench tcp://127.0.0.1:7";
        assert_eq!(words(line, &transport).unwrap(), line, "an endpoint excludes it");
        let wrong = [("RESOUND_SERVE_SANDBOX", "perhaps")];
        for line in ["resound serve --sandbox", "resound serve --version", "resound serve -h"] {
            assert_eq!(words(line, &wrong).unwrap(), line);
        }
    }
}
