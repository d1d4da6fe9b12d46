//! Wrong command lines, made from the definition of every command and flag.

use clap::ArgAction;

use super::*;
use crate::cli;

const ENDPOINT: &str = "tcp://127.0.0.1:7";

/// The words that a command needs before anything else can be wrong with it.
fn complete(command: &str) -> Vec<&'static str> {
    match command {
        "sweep" => vec![ENDPOINT, "--connections", "1,2"],
        "compare" => vec![ENDPOINT, "udp://127.0.0.1:7"],
        "merge" => vec!["a.json"],
        "ping" => vec![ENDPOINT],
        "send" => vec![ENDPOINT, "hello"],
        "report" => vec!["a.json", "-o", "a.html"],
        "completions" => vec!["bash"],
        "man" => vec!["bench"],
        _ => vec![ENDPOINT],
    }
}

/// Returns the one line about a wrong command line, or `None` if it is accepted.
fn refusal(words: &[&str]) -> Option<String> {
    let words: Vec<OsString> = std::iter::once(&"resound").chain(words).map(Into::into).collect();
    cli::usage::mistake_in(&words)
}

/// Asserts that the line says what was wrong, what is expected and an example.
#[track_caller]
fn assert_helpful(words: &[&str], wrong: &str) {
    let line = refusal(words).unwrap_or_else(|| panic!("{words:?} is accepted"));
    assert!(line.contains(wrong), "{words:?}: {line}");
    let (_, expected) = line.split_once("expected ").unwrap_or_else(|| panic!("{words:?}: {line}"));
    let has_example = ["such as ", "as in "].iter().any(|words| expected.contains(words));
    assert!(has_example, "{words:?}: {line}");
    assert!(line.chars().count() <= LINE_CHARS_MAX && !line.contains("(cut)"), "{line}");
}

/// Calls `check` with each command and the words that it needs.
fn for_each_command(check: impl Fn(&Command, &[&str])) {
    let mut program = cli::command().disable_help_subcommand(true);
    program.build();
    let mut count = 0;
    for command in program.get_subcommands() {
        let words = [vec![command.get_name()], complete(command.get_name())].concat();
        check(command, &words);
        count += 1;
    }
    assert_eq!(count, 10, "a new command needs its words in this table");
}

fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_own = |arg: &&Arg| !["help", "version"].contains(&arg.get_id().as_str());
    command.get_arguments().filter(|arg| !arg.is_positional()).filter(is_own)
}

#[test]
fn a_wrong_command_is_answered_with_an_example() {
    for (words, wrong) in [
        (&[][..], "no command given"),
        (&["frobnicate"], "'frobnicate'"),
        (&["serv"], "'serve'"),
        (&["--frobnicate"], "'--frobnicate'"),
        (&["-J"], "'-J'"),
        (&["help", "frobnicate"], "'frobnicate'"),
    ] {
        assert_helpful(words, wrong);
    }
}

#[test]
fn an_unknown_flag_of_any_command_is_answered_with_an_example() {
    for_each_command(|_, words| {
        for flag in ["--frobnicate", "--frobnicate=1", "-@"] {
            let wrong = flag.split('=').next().unwrap();
            assert_helpful(&[words, &[flag]].concat(), wrong);
        }
    });
}

#[test]
fn a_word_too_many_is_answered_with_an_example() {
    for_each_command(|command, words| {
        let takes_any_number = ["serve", "merge", "report", "ping"].contains(&command.get_name());
        if !takes_any_number {
            assert_helpful(&[words, &["udp://127.0.0.1:9"]].concat(), "udp://127.0.0.1:9");
        }
    });
}

#[test]
fn a_missing_word_is_answered_with_an_example() {
    for (words, wrong) in [
        (&["sweep"][..], "no flag has many values"),
        (&["sweep", "--find", "p99<1ms"], "no flag has many values"),
        (&["compare"], "nothing to compare"),
        (&["compare", ENDPOINT, "--serve-a", "x"], "--serve-b"),
        (&["merge"], "<FILE>"),
        (&["report"], "--output"),
        (&["report", "-o", "a.html"], "<FILE.json>"),
        (&["ping"], "<ENDPOINT>"),
        (&["send"], "<ENDPOINT>"),
        (&["completions"], "<SHELL>"),
        (&["bench", "--arrival", "poisson"], "--rate"),
        (&["sweep", "--rate", "1..9", "--precision", "1%"], "--find"),
    ] {
        assert_helpful(words, wrong);
    }
}

#[test]
fn a_flag_without_its_value_is_answered_with_an_example() {
    for_each_command(|command, words| {
        for flag in flags(command).filter(|flag| flag.get_action().takes_values()) {
            let name = typed(flag);
            assert_helpful(&[words, &[&name]].concat(), &name);
        }
    });
}

#[test]
fn a_flag_given_twice_is_answered_with_an_example() {
    for_each_command(|command, words| {
        for flag in flags(command) {
            let name = typed(flag);
            let is_repeatable = matches!(flag.get_action(), ArgAction::Append | ArgAction::Count);
            if !is_repeatable && !flag.get_action().takes_values() {
                assert_helpful(&[words, &[&name, &name]].concat(), &name);
            }
        }
    });
    for words in [
        &["serve", "--backlog", "1", "--backlog", "2"][..],
        &["serve", "--reply", "a", "--reply", "b"],
        &["bench", "--mode", "echo", "--mode", "echo"],
        &["sweep", "--rate", "1..9", "--rate", "5"],
        &["compare", "--a", "-d1", "--a", "-d2"],
        &["merge", "a.json", "--label", "a", "--label", "b"],
        &["report", "a.json", "--output", "a.html", "--output", "b.html"],
        &["ping", ENDPOINT, "--count", "1", "--count", "2"],
        &["send", ENDPOINT, "--timeout", "1", "--timeout", "2"],
        &["man", "--to", "a", "--to", "b"],
    ] {
        let wrong = words.iter().rfind(|word| word.starts_with("--")).unwrap();
        assert_helpful(words, wrong);
    }
}

#[test]
fn a_value_for_a_flag_without_one_is_answered_with_an_example() {
    for_each_command(|command, words| {
        for flag in flags(command).filter(|flag| !flag.get_action().takes_values()) {
            let word = typed(flag) + "=yes";
            assert_helpful(&[words, &[&word]].concat(), &typed(flag));
        }
    });
}

/// Any text is a value of these, or any name.
const FREE: &[&str] = &[
    "--label",
    "--reply",
    "--a",
    "--b",
    "--serve-a",
    "--serve-b",
    "--to",
    "--congestion",
    "--user",
];

/// A well-formed number may be out of range for one flag and right for another.
#[test]
fn a_wrong_value_of_any_flag_is_answered_with_an_example() {
    let wrong = ["", "?", "-1", "99999999999999999999", "1e3", "1 2", "\u{e9}"];
    for_each_command(|command, words| {
        for flag in flags(command).filter(|flag| flag.get_action().takes_values()) {
            let name = typed(flag);
            let is_free = FREE.contains(&name.as_str());
            // A comparison refuses the flags of one run, whatever their value is.
            let is_refused = command.get_name() == "compare" && flag.is_hide_set();
            if is_free || is_refused || words.contains(&name.as_str()) || words.contains(&"-o") {
                continue;
            }
            for value in wrong {
                let word = format!("{name}={value}");
                let words = [words, &[&word]].concat();
                // A sweep cannot name its flag if two flags have a list or a range.
                assert_helpful(&words, if value.is_empty() { &name } else { value });
            }
        }
    });
}

#[test]
fn flags_that_exclude_each_other_are_answered_with_an_example() {
    let mut pairs = 0;
    let mut program = cli::command().disable_help_subcommand(true);
    program.build();
    for command in program.get_subcommands() {
        let needed = complete(command.get_name());
        let words = [vec![command.get_name()], needed].concat();
        for one in flags(command).filter(|flag| !flag.get_action().takes_values()) {
            for other in command.get_arg_conflicts_with(one) {
                if !other.get_action().takes_values() {
                    let flags = [typed(one), typed(other)];
                    assert_helpful(&[&words[..], &[&flags[0], &flags[1]]].concat(), &flags[0]);
                    pairs += 1;
                }
            }
        }
    }
    assert!(pairs >= 8, "only {pairs} pairs");
    for (words, wrong) in [
        (&["serve", "--reply", "x", "--discard"][..], "--discard"),
        (&["bench", "--transport", "udp", ENDPOINT], "--transport"),
        (&["sweep", "--rate", "1..9", "--find", "p99<1ms", "--steps", "3"], "--find"),
        (&["man", "--to", "a", "serve"], "--to"),
        (&["serve", "--one-off", "--threads", "2"], "--threads"),
        (&["serve", "-4", "tcp://[::1]:7"], "'-4'"),
        (&["send", "-6", ENDPOINT, "x"], "'-6'"),
        (&["ping", "-4", "--bind", "::1", ENDPOINT], "--bind"),
        (&["ping", "--bind", "::1", ENDPOINT], "--bind"),
        (&["sweep", "--rate", "1..9", "--find", "p99<1ms", "--part", "1/2"], "--part"),
        (&["sweep", "--rate", "1..9", "--trace", "a.json"], "--trace"),
        (&["sweep", "--rate", "1,9", "--find", "p99<1s"], "--find"),
        (&["sweep", "--rate", "1,9", "--steps", "3"], "--steps"),
        (&["sweep", "--connections", "1,2", "--mode", "connect", "--depth", "2"], "--mode"),
        (&["compare", "a.json", "b.json", "--control"], "--control"),
        (&["compare", "a.json", "b.json", "--depth", "2"], "--depth"),
        (&["compare", "a.json"], "two documents"),
        (&["compare", ENDPOINT, "--a", "--frobnicate"], "'--frobnicate'"),
        (&["compare", ENDPOINT, "--a", "-d"], "--depth"),
    ] {
        assert_helpful(words, wrong);
    }
}

#[test]
fn a_wrong_name_of_an_algorithm_is_answered_with_an_example() {
    for name in ["", "a b", "sixteen_letters_"] {
        let word = format!("--congestion={name}");
        assert_helpful(&["serve", &word], "--congestion");
    }
}

/// The run says so with a warning. See the tests of the settings.
#[test]
fn a_flag_that_no_endpoint_can_use_is_accepted() {
    let (udp, unix, unixgram) = ("udp://127.0.0.1:7", "unix:/a", "unixgram:/a");
    let accept = |words: &[&str]| assert_eq!(refusal(words), None, "{words:?}");
    for flag in ["--nagle", "--congestion=cubic", "--mss=1400", "--mptcp"] {
        for endpoint in [udp, unix, unixgram] {
            accept(&["serve", endpoint, flag]);
            accept(&["bench", endpoint, flag]);
        }
        accept(&["sweep", udp, flag, "--rate", "1..9"]);
        accept(&["compare", ENDPOINT, unix, flag]);
        accept(&["bench", "--transport", "udp", flag]);
    }
    for endpoint in [unix, unixgram] {
        for flag in ["-4", "-6", "--dscp=ef", "--ttl=9"] {
            for command in ["serve", "bench", "ping"] {
                accept(&[command, endpoint, flag]);
            }
        }
        accept(&["send", endpoint, "x", "-4"]);
        accept(&["bench", endpoint, "--busy-poll=9us"]);
        accept(&["bench", endpoint, "--timestamps"]);
        accept(&["ping", endpoint, "--timestamps"]);
    }
    accept(&["bench", udp, "--reconnect"]);
}

/// Only IP has addresses to leave from, and a literal address has one family.
#[test]
fn what_no_endpoint_can_mean_is_answered_with_an_example() {
    for endpoint in ["unix:/a", "unixgram:/a"] {
        for command in ["bench", "ping", "send"] {
            assert_helpful(&[command, endpoint, "--bind", "127.0.0.1"], "--bind");
        }
    }
    assert_helpful(&["bench", "--transport=unix", "--bind=127.0.0.1"], "--transport unix");
    assert_eq!(refusal(&["ping", "udp://127.0.0.1:7", "unix:/a", "--bind=127.0.0.1"]), None);
    for command in ["serve", "bench", "ping", "send"] {
        assert_helpful(&[command, ENDPOINT, "-6"], "-6");
    }
}

#[test]
fn words_that_are_not_text_are_named() {
    use std::os::unix::ffi::OsStringExt;

    let words = ["resound", "serve"].map(OsString::from);
    let words = [&words[..], &[OsString::from_vec(b"tcp://\xff:7".to_vec())]].concat();
    let mut error = cli::parse(&words).unwrap_err();
    let line = one_line(&mut error, &words);
    assert!(
        line.starts_with(r"'tcp://\xff:7' is not valid UTF-8; expected text, as in "),
        "{line}"
    );
}
