//! Lays out labelled paragraphs and table rows, wrapped to the width of a page.

/// The widest line, unless a single word is wider.
pub(super) const COLUMNS_MAX: usize = 100;

/// The narrowest page: a label and a cell beside it.
const COLUMNS_MIN: usize = INDENT + CELL;

/// The column at which text begins. Labels stand before it.
const INDENT: usize = 14;

/// The width of a cell: the longest title fits.
const CELL: usize = 15;

/// The lines written so far.
#[derive(Debug)]
pub(in crate::report) struct Page {
    lines: String,
    columns: usize,
}

impl Page {
    /// Creates a page of this width, within [`COLUMNS_MIN`] and [`COLUMNS_MAX`].
    pub(in crate::report) fn new(columns: usize) -> Page {
        Page { lines: String::new(), columns: columns.clamp(COLUMNS_MIN, COLUMNS_MAX) }
    }

    /// Returns the width of the text beside a label.
    pub(super) fn text_columns(&self) -> usize {
        self.columns - INDENT
    }

    /// Returns how many cells a row has room for.
    pub(super) fn cells(&self) -> usize {
        (self.columns - INDENT) / CELL
    }

    /// Adds a label and its text. A continuation has an empty label.
    pub(in crate::report) fn entry(&mut self, label: &str, text: &str) {
        let mut line = format!("{label:<INDENT$}");
        let mut column = line.chars().count();
        let mut is_first = true;
        for word in text.split(' ') {
            let width = word.chars().count();
            if !is_first && column + 1 + width > self.columns {
                self.end_line(&line);
                line = " ".repeat(INDENT);
                column = INDENT;
                is_first = true;
            }
            if !is_first {
                line.push(' ');
                column += 1;
            }
            line.push_str(word);
            column += width;
            is_first = false;
        }
        self.end_line(&line);
    }

    /// Returns the width.
    pub(in crate::report) fn columns(&self) -> usize {
        self.columns
    }

    /// Adds a line as it is.
    pub(in crate::report) fn line(&mut self, line: &str) {
        self.end_line(line);
    }

    /// Adds a row: a label and right-aligned cells.
    pub(super) fn row(&mut self, label: &str, cells: impl Iterator<Item = String>) {
        let mut line = format!("{label:<INDENT$}");
        cells.for_each(|cell| line.push_str(&format!("{cell:>CELL$}")));
        self.end_line(&line);
    }

    pub(in crate::report) fn as_str(&self) -> &str {
        &self.lines
    }

    fn end_line(&mut self, line: &str) {
        self.lines.push_str(line.trim_end());
        self.lines.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_text_continues_on_the_next_line() {
        let mut page = Page::new(COLUMNS_MAX);
        page.entry("health", &"word ".repeat(30));
        let lines: Vec<&str> = page.as_str().lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("health        word word"), "{}", lines[0]);
        assert!(lines[1].starts_with("              word"), "{}", lines[1]);
    }

    #[test]
    fn a_long_word_is_not_cut() {
        let mut page = Page::new(COLUMNS_MAX);
        let path = "x".repeat(120);
        page.entry("endpoint", &format!("unix:{path} and more"));
        assert!(page.as_str().contains(&path));
        assert_eq!(page.as_str().lines().count(), 2);
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_word_and_no_line_is_too_long(
            words in prop::collection::vec("[a-zé]{1,40}", 1..60),
            columns in 60..200_usize,
        ) {
            let mut page = Page::new(columns);
            page.entry("", &words.join(" "));
            let back: Vec<&str> = page.as_str().split_whitespace().collect();
            prop_assert_eq!(back, words);
            for line in page.as_str().lines() {
                prop_assert!(line.chars().count() <= columns.min(COLUMNS_MAX));
            }
        }
    }
}
