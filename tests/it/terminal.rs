//! What is shown on a terminal: as wide as that is, without colors where none are wanted, each
//! fault once, and the figures that count where they are seen.

use std::net::UdpSocket;
use std::process::Command;

use crate::support::{Ended, UnservedPorts, python, resound, run};

/// The rows of a terminal of the usual size.
const ROWS: usize = 24;

/// The program on a terminal of so many columns, without a variable of the test's own environment
/// that would change what it shows.
fn on_terminal(columns: usize, arguments: &[&str]) -> Command {
    let mut command = python("terminal.py");
    command.args([columns.to_string(), ROWS.to_string()]);
    command.arg(resound().get_program()).args(arguments);
    for variable in ["NO_COLOR", "COLUMNS", "RUST_LOG", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.env("TERM", "xterm");
    command
}

/// The lines that stay on the screen: a progress line is erased before what follows it.
#[track_caller]
fn screen(ended: &Ended) -> Vec<String> {
    let shown = ended.stdout_text();
    let last = |line: &str| line.rsplit("\x1b[2K").next().unwrap_or_default().to_owned();
    let lines: Vec<_> = shown.split('\n').map(|line| last(line.trim_end_matches('\r'))).collect();
    assert_eq!(lines.last().map(String::as_str), Some(""), "the last line is ended");
    lines[..lines.len() - 1].to_vec()
}

/// A run that has all parts of a report that are common, and ends soon.
const OPEN_LOOP: &[&str] = &["-r2k", "-n1k", "-c4", "--warmup=200ms", "--assert=p99<1ns"];

#[test]
fn a_report_fits_the_terminal_and_its_result_is_on_the_last_screen() {
    for columns in [120, 80, 60, 40] {
        let ended = run(on_terminal(columns, &[&["bench"], OPEN_LOOP].concat()));
        assert_eq!(ended.code(), 99, "{}", ended.stdout_text());
        let lines = screen(&ended);
        for line in &lines {
            assert!(line.chars().count() <= columns, "{columns}: {line:?}");
        }
        assert!(lines.iter().any(|line| line.starts_with("endpoint ")), "{lines:?}");
        let result = lines.iter().rposition(|line| line.starts_with("result ")).unwrap();
        assert!(lines.len() - result < ROWS, "{lines:?}");
        let result = lines[result..].join(" ");
        let words = result.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [" messages a second achieved", ", p50 ", ", p99 ", " lost", "NOT held"] {
            assert!(words.contains(part), "{words}");
        }
    }
}

/// `COLUMNS` asks for less than the terminal has.
#[test]
fn a_report_is_no_wider_than_asked() {
    let mut command = on_terminal(80, &[&["bench"], OPEN_LOOP].concat());
    command.env("COLUMNS", "50");
    for line in screen(&run(command)) {
        assert!(line.chars().count() <= 50, "{line:?}");
    }
}

/// What a program reads does not depend on the terminal of the user.
#[test]
fn a_report_in_a_pipe_is_as_wide_as_ever_and_says_its_result_once() {
    let mut command = resound();
    command.arg("bench").args(OPEN_LOOP).env("COLUMNS", "40");
    let ended = run(command);
    let text = ended.stdout_text();
    assert!(text.lines().any(|line| line.chars().count() > 80), "{text}");
    assert!(!text.contains("\nresult "), "{text}");
}

#[test]
fn a_refused_connect_shows_one_line() {
    let unserved = UnservedPorts::new();
    let endpoint = format!("tcp://{}", unserved.tcp);
    let refused = format!("resound: cannot connect to {endpoint}: refused (nothing listens there)");
    for arguments in [
        &["bench", &endpoint][..],
        &["bench", "--interval=1ms", &endpoint],
        &["bench", "--mode=connect", &endpoint],
        &["send", &endpoint, "x"],
    ] {
        let ended = run(on_terminal(80, arguments));
        assert_eq!(ended.code(), 1, "{}", ended.stdout_text());
        assert_eq!(screen(&ended), [refused.as_str()], "{arguments:?}");
    }
    let mut command = resound();
    command.args(["bench", "--interval=1ms", &endpoint]);
    let ended = run(command);
    assert_eq!((ended.stdout_text().as_str(), ended.stderr), ("", format!("{refused}\n")));
}

/// Both stdout and stderr lead to the terminal, and each has its reason to tell of the fault.
#[test]
fn a_fault_of_a_run_with_a_report_is_told_once() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("udp://{}", silent.local_addr().unwrap());
    let arguments = ["bench", "-n1", "-c1", "--warmup=0", "--timeout=50ms", &endpoint];
    let ended = run(on_terminal(200, &arguments));
    let fault = "nothing came back";
    let lines = screen(&ended);
    let told = lines.iter().filter(|line| line.contains(fault)).collect::<Vec<_>>();
    assert_eq!((ended.code(), told.len()), (1, 1), "{lines:?}");
    assert!(lines.last().unwrap().starts_with("ERROR "), "{lines:?}");

    // In a pipe stderr tells it: a reader of the report alone finds it there, too.
    let mut command = resound();
    command.args(arguments);
    let ended = run(command);
    assert_eq!(ended.stderr.matches(fault).count(), 1);
    assert_eq!(ended.stdout_text().matches(fault).count(), 1);
}

/// Whether anything was shown in a color, or in bold or dim (ECMA-48, SGR).
fn is_coloured(ended: &Ended) -> bool {
    let shown = ended.stdout_text();
    let is_parameter = |c: char| c.is_ascii_digit() || c == ';';
    let mut sequences = shown.split("\x1b[").skip(1);
    sequences.any(|rest| rest.trim_start_matches(is_parameter).starts_with('m'))
}

#[test]
fn no_command_uses_colors_where_none_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("unix:{}/missing/socket", folder.path().display());
    for (arguments, has_colors) in [
        (&["--help"][..], true),
        (&["serve", "--help"], true),
        (&["bench", "--help"], true),
        (&["ping", "--help"], true),
        (&["send", "--help"], true),
        // It warns before it fails.
        (&["serve", &missing], true),
        (&["serve", "nonsense"], false),
        (&["bench", "-n10", "-c1", "--warmup=0"], false),
        (&["ping", "-c1", &missing], false),
        (&["send", &missing, "x"], false),
    ] {
        // What `serve` warns of.
        let on_terminal = || {
            let mut command = on_terminal(80, arguments);
            command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
            command
        };
        assert_eq!(is_coloured(&run(on_terminal())), has_colors, "{arguments:?}");
        for (variable, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let mut command = on_terminal();
            command.env(variable, value);
            let ended = run(command);
            assert!(!is_coloured(&ended), "{variable} {arguments:?}: {}", ended.stdout_text());
        }
        // An empty one asks for nothing (no-color.org).
        let mut command = on_terminal();
        command.env("NO_COLOR", "");
        assert_eq!(is_coloured(&run(command)), has_colors, "{arguments:?}");
    }
}

#[test]
fn a_terminal_without_control_sequences_is_sent_none() {
    let mut command = on_terminal(80, &["bench", "-t300ms", "--warmup=0", "-c1"]);
    command.env("TERM", "dumb");
    let ended = run(command);
    assert!(ended.stdout_text().contains("\nresult "), "{}", ended.stdout_text());
    assert!(!ended.stdout.contains(&0x1b), "{}", ended.stdout_text());
}
