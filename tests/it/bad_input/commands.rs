//! Wrong command lines of each command.

use super::{assert_usage, assert_usage_of, with_arguments};
use crate::support::{resound, run};

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

#[test]
fn the_document_of_a_refused_command_claims_no_figure_and_goes_to_its_files() {
    let folder = tempfile::tempdir().unwrap();
    for (command, claims) in [
        ("bench", &["/generator/verdict"][..]),
        ("merge", &["/generator/verdict"]),
        ("compare", &["/method", "/control", "/regression"]),
        ("sweep", &["/swept", "/knee", "/found"]),
    ] {
        let path = folder.path().join(format!("{command}.json"));
        let output = format!("--output={}", path.display());
        let mut program = resound();
        program.args([command, "-J", &output, "--nonsense"]);
        let ended = run(program);
        assert_eq!(ended.code(), 2, "{command}: {}", ended.stderr);
        let document: serde_json::Value = serde_json::from_str(&ended.stdout_text()).unwrap();
        assert_eq!(document["status"], "error", "{command}");
        for claim in claims {
            let value = document.pointer(claim);
            assert_eq!(value, Some(&serde_json::Value::Null), "{command}: {claim}");
        }
        let file = std::fs::read_to_string(&path).unwrap();
        assert_eq!(file, ended.stdout_text(), "{command}");
    }
}

#[test]
fn a_bound_on_a_comparison_is_named_if_that_of_a_run_was_typed() {
    for arguments in [&["--assert", "p99<1ms"][..], &["--assert=p99<1ms"]] {
        let mut program = resound();
        program.args(["compare", "tcp://127.0.0.1:7", "tcp://127.0.0.1:8"]).args(arguments);
        let ended = run(program);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        let expected = "resound: --assert judges one run, and a comparison has many: expected a \
                        bound on how much worse B may be, such as --max-regression 5; try \
                        'resound compare --help'\n";
        assert_eq!(ended.stderr, expected);
    }
}

#[test]
fn the_document_of_a_run_without_a_peer_has_no_verdict_and_no_assert_holds() {
    let mut program = resound();
    program.args(["bench", "tcp://127.0.0.1:1", "-J", "--assert", "health==ok"]);
    let ended = run(program);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let document: serde_json::Value = serde_json::from_str(&ended.stdout_text()).unwrap();
    assert_eq!(document["status"], "error");
    assert_eq!(document["generator"]["verdict"], serde_json::Value::Null);
    assert_eq!(document["asserts"][0]["held"], false);
}
