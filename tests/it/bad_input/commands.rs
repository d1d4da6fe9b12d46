//! Wrong command lines of each command.

use super::{assert_usage, assert_usage_of, with_arguments};

/// Each command says in one line what was wrong, what it expects and an example.
#[test]
fn every_command_answers_a_wrong_command_line_with_an_example() {
    let endpoint = "tcp://127.0.0.1:1";
    for (arguments, wrong) in [
        (&["serve", "-4", "-6"][..], "--ipv6"),
        (&["serve", "--frobnicate"], "--frobnicate"),
        (&["bench", "-4", "-6"], "--ipv6"),
        (&["bench", endpoint, "udp://127.0.0.1:1"], "udp://127.0.0.1:1"),
        (&["bench", "--rate"], "--rate"),
        (&["sweep", "--rate", "1..9", "--rate", "5"], "--rate"),
        (&["sweep"], "no flag has many values"),
        (&["compare", endpoint, endpoint, endpoint], endpoint),
        (&["merge"], "<FILE>"),
        (&["merge", "a.json", "--assert", "p99"], "'p99'"),
        (&["report"], "--output"),
        (&["report", "a.json", "-o", "a.txt"], "'a.txt'"),
        (&["ping"], "<ENDPOINT>"),
        (&["ping", endpoint, "-c", "0"], "'0'"),
        (&["send", endpoint, "one", "two"], "'two'"),
        (&["completions"], "<SHELL>"),
        (&["completions", "csh"], "'csh'"),
        (&["man", "frobnicate"], "'frobnicate'"),
        (&["frobnicate"], "'frobnicate'"),
    ] {
        assert_usage_of(arguments, &[wrong, "expected ", "; try 'resound"]);
        let line = with_arguments(arguments.iter().copied()).stderr;
        assert!(line.contains("such as ") || line.contains("as in "), "{line}");
    }
}

#[test]
fn a_hint_is_separate_from_the_error() {
    for (arguments, line) in [
        (
            &["serve", "--alow", "10.0.0.0/8"][..],
            "unexpected argument '--alow' found; a similar argument exists: '--allow'; \
             expected a flag of 'resound serve', as in \"resound serve unix:/run/resound/echo \
             --unix-mode 0666\"; try 'resound serve --help'",
        ),
        (
            &["ping", "-x"],
            "unexpected argument '-x' found; to pass '-x' as a value, use '-- -x'; \
             expected a flag of 'resound ping', as in \"resound ping udp://192.0.2.1:7007 -c 10\"; \
             try 'resound ping --help'",
        ),
        (
            &["serv"],
            "unrecognized subcommand 'serv'; a similar subcommand exists: 'serve'; expected one \
             of: serve, bench, sweep, compare, merge, ping, send, report, completions, man, such \
             as 'resound serve'; try 'resound --help'",
        ),
    ] {
        let ended = with_arguments(arguments.iter().copied());
        assert_usage(&ended, &[]);
        assert_eq!(ended.stderr, format!("resound: {line}\n"));
    }
}
