//! What fits the habits of operators: flags from the environment, completions, manual pages, and
//! the version.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Daemon, Ended, Process, resound, tool, wait_until};

/// Runs a command that a chain of calls has built.
fn run(command: &mut Command) -> Ended {
    let empty = Command::new("");
    crate::support::run(std::mem::replace(command, empty))
}

fn with(variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = resound();
    command.args(arguments).envs(variables.iter().copied()).env_remove("RUST_LOG");
    command
}

#[test]
fn a_server_takes_its_flags_from_the_environment() {
    let variables = [
        ("RESOUND_SERVE_REPLY", "from the environment"),
        ("RESOUND_SERVE_BACKLOG", "7"),
        ("RESOUND_SERVE_SANDBOX", ""),
        ("RESOUND_SERVE_SERVICE_HOST", "set by Kubernetes for a service of this name"),
    ];
    let server = Daemon::start_command(with(&variables, &["serve", "tcp://127.0.0.1:0"]));
    let ended = run(resound().args(["send", &server.endpoints[0], "hello"]));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(ended.stdout_text(), "from the environment");
    let log = server.stop().stderr;
    assert!(log.contains("granted backlog=7"), "{log}");
}

#[test]
fn the_command_line_wins_over_the_environment() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    let variables = [("RESOUND_BENCH_COUNT", "9"), ("RESOUND_BENCH_CONNECTIONS", "3")];
    let arguments = ["bench", &server.endpoints[0], "-n4", "--warmup=0", "-J"];
    let ended = run(&mut with(&variables, &arguments));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let document: serde_json::Value = serde_json::from_str(&ended.stdout_text()).unwrap();
    assert_eq!(document["connections"], 3, "from the environment");
    assert_eq!(document["messages"]["received"], 4, "from the command line");
}

#[test]
fn each_command_takes_its_own_variables_and_no_others() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    let variables = [("RESOUND_PING_COUNT", "2"), ("RESOUND_PING_INTERVAL", "1ms")];
    let ended = run(&mut with(&variables, &["ping", &server.endpoints[0], "-q"]));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stdout_text().contains("2 probes sent"), "{}", ended.stdout_text());
    // A wrong value for another command is no concern of this one.
    let variables = [("RESOUND_BENCH_COUNT", "nonsense")];
    let ended = run(&mut with(&variables, &["send", &server.endpoints[0], "x"]));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

#[test]
fn a_wrong_variable_is_named_in_one_line() {
    let cases = [
        (("RESOUND_BENCH_RATE", "fast"), "expected a count such as 250"),
        (("RESOUND_BENCH_NO_VERIFY", "perhaps"), "expected 1 or 0"),
        (("RESOUND_BENCH_MODE", "connect"), "--mode connect needs a stream"),
    ];
    for ((name, value), expected) in cases {
        let innocent = ("RESOUND_BENCH_CONNECTIONS", "7");
        let variables = [innocent, (name, value)];
        let ended = run(&mut with(&variables, &["bench", "udp://127.0.0.1:1"]));
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        assert!(!ended.stderr.contains(innocent.0), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        for part in [name, value, expected] {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_wrong_variable_gives_the_document_that_a_wrong_flag_gives() {
    for command in ["bench", "sweep"] {
        let name = format!("RESOUND_{}_NO_VERIFY", command.to_uppercase());
        let ended = run(&mut with(&[(&name, "perhaps")], &[command, "-J"]));
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        let document: serde_json::Value = serde_json::from_str(&ended.stdout_text()).unwrap();
        assert!(document["error"].as_str().unwrap().contains(&name), "{document}");
    }
}

/// SIGUSR2 writes a trace. Without one, its default action would end the server.
#[test]
fn a_server_without_a_trace_survives_the_signal_that_writes_one() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    server.process.signal(Signal::USR2);
    // The loop handles its signals in the order of their numbers, or in a later turn.
    server.counters();
    let ended = run(resound().args(["send", &server.endpoints[0], "hello"]));
    assert_eq!(ended.stdout_text(), "hello", "{}", ended.stderr);
    assert_eq!(server.stop().code(), 0);
}

#[test]
fn a_generator_without_a_trace_survives_the_signal_that_writes_one() {
    let server = Daemon::start(&["tcp://127.0.0.1:0"]);
    let arguments = ["bench", &server.endpoints[0], "--warmup=0", "-t1h", "--interval=20ms"];
    let mut command = with(&[], &arguments);
    command.args(["--json-stream", "-c1"]);
    let process = Process::start(command);
    wait_until("the first interval", || process.stdout_text().contains('\n'));
    process.signal(Signal::USR2);
    let shown = process.stdout_text().lines().count();
    wait_until("further intervals", || process.stdout_text().lines().count() > shown + 1);
    process.signal(Signal::INT);
    let ended = process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

#[test]
fn shells_load_the_completions() {
    let checks = [
        ("bash", "source ./completions; complete -p resound"),
        (
            "zsh",
            "autoload -U compinit; compinit -D -u; source ./completions; print $_comps[resound]",
        ),
        ("fish", "source ./completions; complete -C 'resound ser'"),
    ];
    for (shell, check) in checks {
        let printed = run(resound().args(["completions", shell]));
        assert_eq!(printed.code(), 0, "{}", printed.stderr);
        for name in ["serve", "bench", "ping", "send", "max-connections"] {
            assert!(printed.stdout_text().contains(name), "{shell}: {name}");
        }
        let Some(path) = tool(shell) else { continue };
        let home = tempfile::tempdir().unwrap();
        let script = home.path().join("completions");
        std::fs::write(&script, printed.stdout_text()).unwrap();
        let mut command = Command::new(path);
        command.args(["-c", check]).env("HOME", home.path()).current_dir(home.path());
        let loaded = run(&mut command);
        assert_eq!((loaded.code(), loaded.stderr.as_str()), (0, ""), "{shell}");
        assert!(loaded.stdout_text().contains("resound") || shell == "fish", "{shell}");
        assert!(loaded.stdout_text().contains("serve") || shell != "fish", "{shell}");
    }
}

#[test]
fn completions_offer_no_flag_that_the_command_refuses() {
    let script = run(resound().args(["completions", "fish"])).stdout_text();
    let offers = |command: &str, flag: &str| {
        let using = format!("__fish_resound_using_subcommand {command}\"");
        let flag = format!(" -l {flag} ");
        script.lines().any(|line| line.contains(&using) && line.contains(&flag))
    };
    for flag in ["assert", "part", "start-at", "trace", "json-stream"] {
        assert!(offers("bench", flag) && !offers("compare", flag), "{flag}");
    }
    assert!(offers("compare", "rounds"));
}

#[test]
fn each_command_has_a_manual_page_with_its_flags_and_examples() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(resound().args(["man", "--to"]).arg(folder.path().join("man1")));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let help = run(resound().arg("--help")).stdout_text();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let mut pages = 0;
    for command in commands.filter_map(|line| line.split_whitespace().next()) {
        if command == "help" {
            continue;
        }
        let path = folder.path().join("man1").join(format!("resound-{command}.1"));
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(page.contains(".SH EXAMPLES\n.TP\n"), "{command} has an example");
        assert_eq!(run(resound().args(["man", command])).stdout_text(), page, "{command}");
        let flags = run(resound().args([command, "--help"])).stdout_text();
        let lines = flags.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        for flag in lines.filter_map(|line| {
            // A line that begins with `--size]` is the end of a list of aliases.
            let words = line.split([' ', '=', '[', ',', '.']).filter(|word| !word.ends_with(']'));
            words.filter_map(|word| word.strip_prefix("--")).next()
        }) {
            let escaped = format!("\\-\\-{}", flag.replace('-', "\\-"));
            assert!(page.contains(&escaped), "{command}: --{flag}");
        }
        pages += 1;
        let Some(man) = tool("man") else { continue };
        let mut command = Command::new(man);
        command.args(["--warnings", "-E", "UTF-8", "-l"]).arg(&path).env("MANWIDTH", "80");
        let shown = run(command.stdin(Stdio::null()));
        assert_eq!((shown.code(), shown.stderr.as_str()), (0, ""), "{}", path.display());
    }
    assert!(pages >= 6, "{pages} pages");
    let ended = run(resound().args(["man", "nonsense"]));
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr.contains("expected one of: serve, bench"), "{}", ended.stderr);
}
