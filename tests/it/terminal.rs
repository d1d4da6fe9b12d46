//! The output on a terminal: its width, no colors where they are unwanted, each error once, and the
//! important figures last.

use std::net::UdpSocket;
use std::process::Command;

use crate::support::{Ended, UnservedPorts, python, resound, run};

/// The rows of a terminal of the usual size.
const ROWS: usize = 24;

/// Returns a command that runs the program on a terminal of this width, without variables of the
/// tests' environment that would change the output.
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

/// Returns the lines that stay on the screen. A progress line is erased before the text after it.
#[track_caller]
fn screen(ended: &Ended) -> Vec<String> {
    let shown = ended.stdout_text();
    let last = |line: &str| line.rsplit("\x1b[2K").next().unwrap_or_default().to_owned();
    let lines: Vec<_> = shown.split('\n').map(|line| last(line.trim_end_matches('\r'))).collect();
    assert_eq!(lines.last().map(String::as_str), Some(""), "the last line ends with a line break");
    lines[..lines.len() - 1].to_vec()
}

/// A short run whose report has all common parts: more messages than p99 needs, and a timeout that
/// loses none on a busy machine.
const OPEN_LOOP: &[&str] =
    &["-r4k", "-n2k", "-c4", "--warmup=200ms", "--timeout=50s", "--assert=p99<1ns"];

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
        for part in [" messages per second achieved", ", p50 ", ", p99 ", " lost", "NOT held"] {
            assert!(words.contains(part), "{words}");
        }
    }
}

/// `COLUMNS` is less than the width of the terminal.
#[test]
fn a_report_is_no_wider_than_columns() {
    let mut command = on_terminal(80, &[&["bench"], OPEN_LOOP].concat());
    command.env("COLUMNS", "50");
    for line in screen(&run(command)) {
        assert!(line.chars().count() <= 50, "{line:?}");
    }
}

/// Output for programs does not depend on the user's terminal.
#[test]
fn a_report_in_a_pipe_has_the_default_width_and_shows_its_result_once() {
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

/// Both stdout and stderr are the terminal, and each would report the error.
#[test]
fn an_error_of_a_run_with_a_report_is_shown_once() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("udp://{}", silent.local_addr().unwrap());
    let arguments = ["bench", "-n1", "-c1", "--warmup=0", "--timeout=50ms", &endpoint];
    let ended = run(on_terminal(200, &arguments));
    let fault = "nothing came back";
    let lines = screen(&ended);
    let matching = lines.iter().filter(|line| line.contains(fault)).collect::<Vec<_>>();
    assert_eq!((ended.code(), matching.len()), (1, 1), "{lines:?}");
    assert!(lines.last().unwrap().starts_with("ERROR "), "{lines:?}");

    // With stdout in a pipe, stderr shows the error, and the report contains it too.
    let mut command = resound();
    command.args(arguments);
    let ended = run(command);
    assert_eq!(ended.stderr.matches(fault).count(), 1);
    assert_eq!(ended.stdout_text().matches(fault).count(), 1);
}

/// Returns true if any output was in color, bold or dim (ECMA-48, SGR).
fn is_coloured(ended: &Ended) -> bool {
    let shown = ended.stdout_text();
    let is_parameter = |c: char| c.is_ascii_digit() || c == ';';
    let mut sequences = shown.split("\x1b[").skip(1);
    sequences.any(|rest| rest.trim_start_matches(is_parameter).starts_with('m'))
}

#[test]
fn no_command_uses_colors_where_they_are_unwanted() {
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("unix:{}/missing/socket", folder.path().display());
    for (arguments, has_colors) in [
        (&["--help"][..], true),
        (&["serve", "--help"], true),
        (&["bench", "--help"], true),
        (&["ping", "--help"], true),
        (&["send", "--help"], true),
        // This command warns before it fails.
        (&["serve", &missing], true),
        (&["serve", "nonsense"], false),
        (&["bench", "-n10", "-c1", "--warmup=0"], false),
        (&["ping", "-c1", &missing], false),
        (&["send", &missing, "x"], false),
    ] {
        // The warnings of `serve`.
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
        // An empty NO_COLOR has no effect (no-color.org).
        let mut command = on_terminal();
        command.env("NO_COLOR", "");
        assert_eq!(is_coloured(&run(command)), has_colors, "{arguments:?}");
    }
}

#[test]
fn a_terminal_without_control_sequences_gets_none() {
    let mut command = on_terminal(80, &["bench", "-t300ms", "--warmup=0", "-c1"]);
    command.env("TERM", "dumb");
    let ended = run(command);
    assert!(ended.stdout_text().contains("\nresult "), "{}", ended.stdout_text());
    assert!(!ended.stdout.contains(&0x1b), "{}", ended.stdout_text());
}
