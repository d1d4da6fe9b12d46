//! Words that make a sentence hard to read.

use super::{Source, assert_none, files_below, read};

/// Archaic constructions, in lower case. Each has a plain form: the actor, "because", "whether".
const FORBIDDEN: &[&str] = &[
    "whoever",
    "nobody",
    "somebody",
    "whom",
    "herewith",
    "lest",
    "be it",
    "as it were",
    "no mere",
    "for want of",
    "for ever",
    "in place of",
    "is to be",
    "are to be",
];

const FOLDERS: &[&str] = &["src", "tests", "benches", "examples", "docs", "scripts"];

/// Without an extension: `scripts/container/Containerfile`.
const EXTENSIONS: &[&str] = &["rs", "md", "py", "sh", "c", "toml", "service", "socket", ""];

const PAGES: &[&str] = &["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Cargo.toml"];

/// The lines of a text joined into one, in lower case and without comment signs, so that a phrase
/// is found across the end of a line.
struct Joined {
    text: String,
    line_starts: Vec<usize>,
}

impl Joined {
    fn new(text: &str) -> Joined {
        let mut joined = Joined { text: String::new(), line_starts: Vec::new() };
        for line in text.lines() {
            joined.line_starts.push(joined.text.len());
            let is_sign = |c: char| c.is_whitespace() || "/!#*".contains(c);
            joined.text.push_str(line.trim_start_matches(is_sign).trim_end());
            joined.text.push(' ');
        }
        joined.text.make_ascii_lowercase();
        joined
    }

    /// Returns the line numbers of the places that contain the phrase as whole words.
    fn lines_with(&self, phrase: &str) -> Vec<usize> {
        let is_inside = |c: char| c.is_alphanumeric() || c == '_';
        let is_whole = |at: &usize| {
            !self.text[..*at].ends_with(is_inside)
                && !self.text[*at + phrase.len()..].starts_with(is_inside)
        };
        let places = self.text.match_indices(phrase).map(|(at, _)| at).filter(is_whole);
        places.map(|at| self.line_starts.partition_point(|start| *start <= at)).collect()
    }
}

/// Returns each forbidden word of a text, with the number of its line.
fn forbidden_words(text: &str) -> Vec<(usize, &'static str)> {
    let joined = Joined::new(text);
    let lines_of = |word: &&'static str| {
        let word = *word;
        joined.lines_with(word).into_iter().map(move |line| (line, word))
    };
    FORBIDDEN.iter().flat_map(lines_of).collect()
}

#[test]
fn no_file_has_a_forbidden_word() {
    let mut files = files_below(FOLDERS, EXTENSIONS);
    files.extend(PAGES.iter().map(|page| read(page)));
    assert!(files.len() > 300, "the files are found");
    let mut found = Vec::new();
    for Source { path, text } in files.iter().filter(|file| !file.is_tidy()) {
        let words = forbidden_words(text).into_iter();
        found.extend(words.map(|(line, word)| format!("{path}:{line}: {word:?}")));
    }
    assert_none("forbidden words", &found);
}

#[test]
fn a_forbidden_word_is_found_in_any_case_and_across_lines() {
    for text in ["Nobody reads.", "// to whom", "    /// for want\n    /// of memory", "be it so"] {
        assert_eq!(forbidden_words(text).len(), 1, "{text}");
    }
    assert_eq!(forbidden_words("one\n# For want\n# of two\n"), [(2, "for want of")]);
    for text in ["nobody_reads", "maybe it", "be items", "may be. It"] {
        assert_eq!(forbidden_words(text), [], "{text}");
    }
}
