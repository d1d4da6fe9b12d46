//! `resound completions` and `resound man`: what a package installs beside the program.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use resound::escape;

use super::print_text;

/// For each command its name in brackets, then lines by turns: a command line, and what it does.
const EXAMPLES: &str = include_str!("examples.txt");

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
    // The scripts would offer hidden flags too, which are refused with a reason.
    let mut program = super::command().mut_subcommands(|command| {
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let name: &str = command.get_name().to_owned().leak();
        Command::new(name).about(command.get_about().cloned().unwrap_or_default()).args(shown)
    });
    clap_complete::generate(arguments.shell, &mut program, "resound", &mut script);
    print_text(&String::from_utf8_lossy(&script))
}

/// Prints one page, or writes all of them.
pub(super) fn print_pages(arguments: &Manual) -> Result<(), resound::Error> {
    let mut program = super::command().disable_help_subcommand(true);
    program.build();
    let Some(folder) = &arguments.to else {
        let found = arguments.command.as_ref().and_then(|name| program.find_subcommand(name));
        return print_text(&String::from_utf8_lossy(&page(found.unwrap_or(&program))?));
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

/// Returns the name of a page: `resound`, or `resound-serve`.
fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

/// Returns a page in the format of man(7).
fn page(command: &Command) -> Result<Vec<u8>, resound::Error> {
    let man = Man::new(command.clone()).title(page_name(command));
    let mut text = Vec::new();
    let written = man.render(&mut text).and_then(|()| {
        let mut section = Roff::new();
        section.control("SH", ["EXAMPLES"]);
        for (line, what) in examples(command.get_name()) {
            section.control("TP", []).text([bold(line)]).text([roman(what)]);
        }
        section.to_writer(&mut text)
    });
    written.map_err(|error| resound::Error::new("write", "a manual page", error))?;
    Ok(text)
}

/// Returns what a command is used for: pairs of a command line and a sentence. Commands without
/// examples of their own have those of the program.
pub(super) fn examples(command: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let of = |name| EXAMPLES.split_once(&format!("[{name}]\n")).map(|(_, section)| section);
    let section = of(command).or_else(|| of("resound")).unwrap_or_default();
    let mut lines = section.lines().take_while(|line| !line.is_empty());
    std::iter::from_fn(move || Some((lines.next()?, lines.next()?)))
}
