//! Random command lines: valid, nearly valid and meaningless.

use std::os::unix::ffi::OsStringExt;

use clap::error::ErrorKind;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use resound::process::cpus::CpuList;
use resound::reactor::Spin;

use super::*;

/// The longest message: 600 characters, each escaped in the longest form, and the mark that it was
/// cut.
const LINE_BYTES_MAX: usize = 2_500;

/// Values that are valid for some option, and values that are valid for none.
const VALUES: &[&str] = &[
    "0",
    "1",
    "50",
    "10k",
    "2.5m",
    "64KiB",
    "1MiB",
    "200us",
    "1.5s",
    "always",
    "0,1",
    "1k..200k",
    "64..64KiB",
    "1023",
    "0600",
    "tcp",
    "unixgram",
    "fixed",
    "poisson",
    "burst:8",
    "64:70%,1200:30%",
    "64..1500",
    "echo",
    "connect",
    "50,99.9",
    "p99<200us",
    "loss<0.1%",
    "2/3",
    "2026-11-27T09:35:33Z",
    "a.json",
    "a.hlog",
    "tcp://127.0.0.1:7",
    "udp://[::1]:0",
    "unix:/a",
    "unixgram:@a",
    ":7",
    "-1",
    "--",
    "-",
    "",
    "=",
    "é",
    "\u{202e}",
    "\n",
    "\u{1b}[2J",
    "99999999999999999999",
    "--help",
];

const SUBCOMMANDS: &[&str] = &[
    "serve", "bench", "compare", "sweep", "merge", "ping", "send", "help", "--help", "-V", "Serve",
];

/// Returns every flag of every subcommand, long and short.
fn flags() -> Vec<String> {
    let command = Cli::command();
    let arguments = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let names = arguments.flat_map(|argument| {
        let long = argument.get_long_and_visible_aliases().unwrap_or_default();
        let short = argument.get_short().map(|letter| format!("-{letter}"));
        long.into_iter().map(|name| format!("--{name}")).chain(short)
    });
    let mut flags: Vec<String> = names.collect();
    flags.sort();
    flags.dedup();
    assert!(flags.len() > 40, "found only {flags:?}");
    flags
}

fn known_word() -> impl Strategy<Value = String> {
    let flag = select(flags());
    let value = select(VALUES).prop_map(str::to_owned);
    prop_oneof![
        4 => flag.clone(),
        4 => value.clone(),
        2 => (flag, value, any::<bool>()).prop_map(|(flag, value, has_sign)| {
            format!("{flag}{}{value}", if has_sign { "=" } else { "" })
        }),
    ]
}

/// Changes one place of a word: cuts it off, replaces it, repeats its byte, or inserts bytes.
fn mutated((word, at, bytes, kind): (String, Index, Vec<u8>, u8)) -> OsString {
    let mut word = word.into_bytes();
    let place = at.index(word.len() + 1);
    match kind {
        0 => word.truncate(place),
        1 if place < word.len() => drop(word.splice(place..=place, bytes)),
        2 if place < word.len() => {
            let byte = word[place];
            word.splice(place..place, vec![byte; 2_000]).for_each(drop);
        }
        _ => drop(word.splice(place..place, bytes)),
    }
    OsString::from_vec(word)
}

fn word() -> impl Strategy<Value = OsString> {
    let bytes = vec(any::<u8>(), 0..5);
    prop_oneof![
        8 => known_word().prop_map(OsString::from),
        3 => (known_word(), any::<Index>(), bytes, 0..4_u8).prop_map(mutated),
        1 => vec(any::<u8>(), 0..60).prop_map(OsString::from_vec),
        1 => any::<String>().prop_map(OsString::from),
    ]
}

/// The program's name, in most cases a subcommand, and up to seven words.
fn words() -> impl Strategy<Value = Vec<OsString>> {
    let first = prop_oneof![
        12 => select(&SUBCOMMANDS[..5]).prop_map(OsString::from),
        1 => select(SUBCOMMANDS).prop_map(OsString::from),
        1 => word(),
    ];
    (first, vec(word(), 0..8)).prop_map(|(first, words)| {
        let name = OsString::from("resound");
        [name, first].into_iter().chain(words).collect()
    })
}

/// Returns pseudo-random bytes. They are not a proptest strategy, because generating and shrinking
/// kilobytes would be slow.
fn random_bytes(seed: u64, bytes: usize, kind: u8) -> OsString {
    let mut random = fastrand::Rng::with_seed(seed);
    let byte = |_| match kind {
        0 => random.u8(..),
        1 => random.u8(1..128),
        _ => random.u8(b' '..127),
    };
    OsString::from_vec((0..bytes).map(byte).collect())
}

/// Does what `run` does before it opens anything. Returns the error message, if there is one.
fn parse_and_check(words: &[OsString]) -> Option<String> {
    let message = match parse(words) {
        Ok(Cli { command: Command::Serve(arguments) }) => arguments.check().err(),
        Ok(Cli { command: Command::Bench(arguments) }) => {
            let document: serde_json::Value = serde_json::from_str(&bench::document_of(&arguments))
                .expect("the document is JSON");
            document["error"].as_str().filter(|error| !error.is_empty()).map(str::to_owned)
        }
        Ok(Cli { command: Command::Compare(arguments) }) => arguments.check().err(),
        Ok(Cli { command: Command::Man(arguments) }) => arguments.check().err(),
        Ok(Cli { command: Command::Ping(_) | Command::Send(_) | Command::Completions(_) }) => None,
        Ok(Cli { command: Command::Sweep(_) | Command::Merge(_) | Command::Report(_) }) => None,
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            assert!(error.render().to_string().contains("resound"));
            None
        }
        Err(mut error) => {
            let wanted = usage::Wanted::of(words);
            assert!(!wanted.json || words.len() > 2, "{words:?}");
            let line = usage::one_line(&mut error, words);
            assert!(line.contains("; try 'resound") && line.ends_with("--help'"), "{line:?}");
            Some(line)
        }
    };
    message.map(|message| escape::one_line(&message))
}

fn check(message: Option<&String>) -> Result<(), TestCaseError> {
    if let Some(line) = message {
        prop_assert!(!line.is_empty() && line.len() <= LINE_BYTES_MAX, "{} bytes", line.len());
        prop_assert!(!line.contains(char::is_control), "{:?}", line);
        prop_assert!(!line.contains(['\u{202e}', '\u{2028}']), "{:?}", line);
        prop_assert!(!line.ends_with("(cut)"), "the hint is lost: {:?}", line);
    }
    Ok(())
}

proptest! {
    /// case P6: a command line is parsed, or refused in one short line that ends with a hint at the
    /// help.
    #[test]
    fn any_words_are_parsed_or_refused_in_one_line(words in words()) {
        check(parse_and_check(&words).as_ref())?;
    }

    /// case P6: long random bytes at every position of an argument.
    #[test]
    fn kilobytes_of_random_bytes_are_refused_in_one_line(
        seed: u64,
        bytes in 1..40_000_usize,
        kind in 0..3_u8,
        place in prop_oneof![
            Just(Vec::new()),
            select(&SUBCOMMANDS[..5]).prop_map(|name| vec![name.to_owned()]),
            (select(&SUBCOMMANDS[..5]), select(flags()))
                .prop_map(|(name, flag)| vec![name.to_owned(), flag]),
        ],
        prefix in select(&["", "", "tcp://", "unix:", "--", "-", "p", "1"][..]),
    ) {
        let mut words: Vec<OsString> = vec!["resound".into()];
        words.extend(place.into_iter().map(OsString::from));
        let mut word = OsString::from(prefix);
        word.push(random_bytes(seed, bytes, kind));
        words.push(word);
        check(parse_and_check(&words).as_ref())?;
    }

    /// case P6: bytes from peers wherever they are printed.
    #[test]
    fn any_bytes_become_one_line_without_control_characters(bytes: Vec<u8>) {
        let mut line = Vec::new();
        escape::push_message(&mut line, &bytes);
        let line = String::from_utf8(line).unwrap();
        prop_assert!(!line.contains(char::is_control), "{:?}", line);
        let message = escape::one_line(&String::from_utf8_lossy(&bytes));
        prop_assert!(!message.contains(char::is_control), "{:?}", message);
        prop_assert!(message.len() <= LINE_BYTES_MAX);
        let mut terminal = escape::TerminalText::default();
        let pieces = bytes.chunks(3).flat_map(|piece| terminal.next(piece));
        let mut shown: Vec<u8> = pieces.collect();
        shown.extend(terminal.end_line());
        let shown = String::from_utf8(shown).unwrap();
        prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
    }

    /// Values of `--affinity` and `--spin`.
    #[test]
    fn any_text_is_parsed_as_a_value_or_refused_in_one_line(
        text in prop_oneof![
            2 => "[0-9]{1,5}(,[0-9]{1,5}){0,40}",
            2 => "[0-9,. +kalwys-]{0,12}",
            1 => any::<String>(),
        ],
    ) {
        let cpus = text.parse::<CpuList>();
        if let Ok(cpus) = &cpus {
            prop_assert_eq!(cpus.0.len(), text.split(',').count());
            prop_assert!(cpus.0.iter().all(|cpu| *cpu < rustix::thread::CpuSet::MAX_CPU));
        }
        let messages = [cpus.err(), values::loops(&text).err(), text.parse::<Spin>().err()];
        for message in messages.into_iter().flatten() {
            prop_assert!(message.starts_with("expected ") && message.contains("such as "));
        }
    }
}
