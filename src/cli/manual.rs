//! `resound completions` and `resound man`: what a package installs beside the program.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use resound::escape;
use resound::process::standard;

/// Print the completions of a shell
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Print the manual page of a command, or write all pages
#[derive(Debug, Args)]
pub(super) struct Manual {
    /// The command; without one, the page of the program
    #[arg(value_name = "COMMAND")]
    command: Option<String>,

    /// Write the page of the program and those of all commands into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    to: Option<PathBuf>,
}

impl Manual {
    pub(super) fn check(&self) -> Result<(), String> {
        let program = super::command();
        let Some(name) = &self.command else { return Ok(()) };
        if program.find_subcommand(name).is_some() {
            return Ok(());
        }
        let names: Vec<_> = program.get_subcommands().map(Command::get_name).collect();
        let name = escape::shortened(&escape::one_line(name));
        Err(format!(
            "no command '{name}'; expected one of: {}, such as 'resound man bench'",
            names.join(", ")
        ))
    }
}

pub(super) fn print_completions(arguments: &Completions) -> Result<(), resound::Error> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::command(), "resound", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Prints one page, or writes all of them.
pub(super) fn print_pages(arguments: &Manual) -> Result<(), resound::Error> {
    let mut program = super::command().disable_help_subcommand(true);
    program.build();
    let Some(folder) = &arguments.to else {
        let found = arguments.command.as_ref().and_then(|name| program.find_subcommand(name));
        return print(&String::from_utf8_lossy(&page(found.unwrap_or(&program))?));
    };
    fs::create_dir_all(folder)
        .map_err(|error| resound::Error::new("create", folder.display(), error))?;
    for command in std::iter::once(&program).chain(program.get_subcommands()) {
        let path = folder.join(format!("{}.1", page_name(command)));
        fs::write(&path, page(command)?)
            .map_err(|error| resound::Error::new("write", path.display(), error))?;
    }
    Ok(())
}

fn print(text: &str) -> Result<(), resound::Error> {
    match standard::print(text) {
        // The reader has closed its end. That is not an error.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(resound::Error::new("write to", "stdout", error))
        }
        _ => Ok(()),
    }
}

/// Returns the name of a page: `resound`, or `resound-serve`.
fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

/// Returns a page in the format of man(7).
fn page(command: &Command) -> Result<Vec<u8>, resound::Error> {
    let examples = examples(command.get_name());
    let man = Man::new(command.clone()).title(page_name(command));
    let mut text = Vec::new();
    let written = man.render(&mut text).and_then(|()| {
        let mut section = Roff::new();
        section.control("SH", ["EXAMPLES"]);
        for (what, line) in examples {
            section.control("TP", []).text([bold(*line)]).text([roman(*what)]);
        }
        section.to_writer(&mut text)
    });
    written.map_err(|error| resound::Error::new("write", "a manual page", error))?;
    Ok(text)
}

/// Returns what a command is used for, each with a command line.
pub(super) fn examples(command: &str) -> &'static [(&'static str, &'static str)] {
    match command {
        "serve" => &[
            (
                "Echo over TCP and UDP on port 7007 of every interface.",
                "resound serve tcp://:7007 udp://:7007",
            ),
            (
                "Echo over a Unix stream socket that every user may open.",
                "resound serve unix:/run/resound/echo --unix-mode 0666",
            ),
            ("Reply to each datagram with the same text.", "resound serve udp://:7007 --reply OK"),
            (
                "Serve one network, with metrics for Prometheus.",
                "resound serve udp://:7007 --allow 192.0.2.0/24 --metrics 127.0.0.1:9107",
            ),
            (
                "Take the same setting from the environment.",
                "RESOUND_SERVE_METRICS=127.0.0.1:9107 resound serve",
            ),
        ],
        "bench" => &[
            (
                "Measure this machine: a server in the same process, over UDP.",
                "resound bench --transport udp",
            ),
            (
                "Send 10,000 messages per second, and fail if p99 is a millisecond or more.",
                "resound bench tcp://192.0.2.1:7007 -r 10k --assert 'p99<1ms'",
            ),
            (
                "Keep the whole result, with a name.",
                "resound bench tcp://192.0.2.1:7007 -t 30s -o run.json --label new-kernel",
            ),
        ],
        "sweep" => &[
            (
                "Measure the latency at ten rates, and draw it.",
                "resound sweep tcp://192.0.2.1:7007 --rate 1k..200k -o sweep.html",
            ),
            (
                "Find the highest rate at which p99 stays below a millisecond.",
                "resound sweep tcp://192.0.2.1:7007 --rate 1k..200k --find 'p99<1ms'",
            ),
        ],
        "compare" => &[
            (
                "Find out if one endpoint is slower than another.",
                "resound compare tcp://192.0.2.1:7007 tcp://192.0.2.2:7007",
            ),
            (
                "Compare two algorithms of congestion control, and A with itself.",
                "resound compare tcp://192.0.2.1:7007 --control --a '--congestion cubic' \
                 --b '--congestion bbr'",
            ),
            (
                "Fail a build if the new server is certainly worse by more than 5 percent.",
                "resound compare tcp://127.0.0.1:7007 --serve-a ./old --serve-b ./new \
                 --max-regression 5",
            ),
        ],
        "merge" => &[
            ("Add the results of two hosts.", "resound merge part-1.json part-2.json"),
            (
                "Check all hosts together.",
                "resound merge part-*.json --assert 'p99<1ms' -o all.json --label 'two hosts'",
            ),
        ],
        "report" => &[
            ("Show a result as a page.", "resound report run.json -o run.html"),
            ("Show two results on the same axes.", "resound report old.json new.json -o both.html"),
        ],
        "ping" => &[
            (
                "Probe a UDP echo service once per second, ten times.",
                "resound ping udp://192.0.2.1:7007 -c 10",
            ),
            ("Print one JSON document.", "resound ping tcp://192.0.2.1:7007 -c 3 -J"),
            (
                "Watch two services for Prometheus, without a line per probe.",
                "resound ping udp://192.0.2.1:7007 tcp://192.0.2.2:7007 -q --metrics :9101",
            ),
        ],
        "send" => &[
            ("Send a message and print the reply.", "resound send tcp://127.0.0.1:7007 hello"),
            (
                "Fail unless a datagram comes back as it was sent.",
                "resound send udp://127.0.0.1:7007 hello --expect-echo",
            ),
            (
                "Send each line of a file as a datagram.",
                "resound send udp://127.0.0.1:7007 < lines.txt",
            ),
        ],
        "completions" => &[
            ("Complete in this bash.", "source <(resound completions bash)"),
            ("Complete in this fish.", "resound completions fish | source"),
        ],
        "man" => &[
            ("Read the page of a command.", "resound man bench | man -l -"),
            ("Install all pages.", "resound man --to /usr/local/share/man/man1"),
        ],
        _ => &[
            ("Start a server.", "resound serve"),
            ("Measure it.", "resound bench tcp://127.0.0.1:7007"),
        ],
    }
}
