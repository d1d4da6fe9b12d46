//! Makes bytes from peers and from the user safe to print.

/// The longest message, in characters. Two paths fit into it, and it does not flood a terminal.
const LINE_CHARS_MAX: usize = 600;

/// Appends `bytes` as one line. Printable UTF-8 is appended unchanged. Anything else is escaped
/// throughout: `\n`, `\xff`, `\u{202e}`, and `\\` for a backslash.
pub fn push_message(line: &mut Vec<u8>, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_printable) => line.extend_from_slice(bytes),
        _ => push_escaped(line, bytes, |c| is_printable(c) && c != '\\'),
    }
}

/// Text for a terminal that arrives in pieces. Line ends and tabs stay; other characters that are
/// not printable are escaped.
#[derive(Debug, Default)]
pub struct TerminalText {
    /// The first bytes of a character that the next piece continues.
    held: Vec<u8>,
    /// The last byte was no line end.
    is_in_line: bool,
}

impl TerminalText {
    /// Returns what to print for the next piece.
    pub fn next(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        self.held = bytes.split_off(whole_characters(&bytes));
        self.escaped(&bytes)
    }

    /// Returns what to print at the end of a line: the escaped bytes of a character that was never
    /// completed, and a line end unless the text has one.
    pub fn end_line(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let mut shown = self.escaped(&held);
        if std::mem::take(&mut self.is_in_line) {
            shown.push(b'\n');
        }
        shown
    }

    fn escaped(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        push_escaped(&mut shown, bytes, |c| is_printable(c) || c == '\n' || c == '\t');
        self.is_in_line = shown.last().map_or(self.is_in_line, |last| *last != b'\n');
        shown
    }
}

/// Returns the length of `bytes` without an incomplete character at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    const BEGINNING_BYTES_MAX: usize = 3;
    let is_beginning = |tail: &[u8]| match std::str::from_utf8(tail) {
        Ok(_) => false,
        Err(error) => error.valid_up_to() == 0 && error.error_len().is_none(),
    };
    let last = bytes.len().saturating_sub(BEGINNING_BYTES_MAX)..bytes.len();
    last.into_iter().find(|&at| is_beginning(&bytes[at..])).unwrap_or(bytes.len())
}

fn push_escaped(line: &mut Vec<u8>, bytes: &[u8], stays: impl Fn(char) -> bool) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut utf8 = [0; 4];
            if stays(c) {
                line.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            } else if c.is_ascii() {
                line.extend((c as u8).escape_ascii());
            } else {
                line.extend(c.escape_unicode().map(|escaped| escaped as u8));
            }
        }
        line.extend(chunk.invalid().escape_ascii());
    }
}

/// Returns true unless `c` is a control character, reorders or hides text, or is a lone combining
/// mark.
fn is_printable(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}

/// Cuts what the user typed to a length that leaves room for more on the line.
pub fn shortened(typed: &str) -> String {
    const SHORT_CHARS_MAX: usize = 100;
    match typed.char_indices().nth(SHORT_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &typed[..cut]),
        None => typed.to_owned(),
    }
}

/// Escapes a message of this program that may quote a peer's bytes. Returns one line of bounded
/// length.
pub fn one_line(message: &str) -> String {
    bounded(message, LINE_CHARS_MAX)
}

/// Like [`one_line`], with at most `chars_max` characters. A longer line is cut and ends with "…
/// (cut)".
pub fn bounded(message: &str, chars_max: usize) -> String {
    let mut line = Vec::new();
    push_escaped(&mut line, message.as_bytes(), is_printable);
    let line = String::from_utf8_lossy(&line);
    match line.char_indices().nth(chars_max) {
        Some((cut, _)) => format!("{}… (cut)", &line[..cut]),
        None => line.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        let mut line = Vec::new();
        push_message(&mut line, bytes);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn printable_text_stays_as_it_is() {
        for text in ["Are you talking to me?", "it's \"fine\" \\ ok", "grüß 東京", ""] {
            assert_eq!(message(text.as_bytes()), text);
        }
    }

    #[test]
    fn bytes_that_could_deceive_a_terminal_are_escaped() {
        assert_eq!(message(b"a\x1b[2J"), r"a\x1b[2J");
        assert_eq!(message(b"line\n"), r"line\n");
        assert_eq!(message(b"\xff\x00"), r"\xff\x00");
        assert_eq!(message("\u{202e}x".as_bytes()), r"\u{202e}x");
        assert_eq!(message(b"\\\n"), r"\\\n", "a backslash differs from an escape");
    }

    #[test]
    fn line_ends_and_tabs_are_kept_for_a_terminal() {
        assert_eq!(TerminalText::default().next(b"a\tb\n\x07"), b"a\tb\n\\x07");
    }

    #[test]
    fn a_character_split_between_two_pieces_is_printed_whole() {
        let whole = "aé東🦀z".as_bytes();
        for cut in 0..=whole.len() {
            let mut text = TerminalText::default();
            let (first, second) = whole.split_at(cut);
            let shown = [text.next(first), text.next(second), text.end_line()].concat();
            assert_eq!(shown, [whole, b"\n"].concat(), "cut at {cut}");
        }
        let mut text = TerminalText::default();
        let byte_by_byte: Vec<u8> = whole.chunks(1).flat_map(|byte| text.next(byte)).collect();
        assert_eq!(byte_by_byte, whole);
    }

    #[test]
    fn a_line_without_an_end_gets_one() {
        let mut text = TerminalText::default();
        assert_eq!(text.end_line(), b"", "nothing was printed");
        text.next(b"a\n");
        assert_eq!(text.end_line(), b"");
        text.next(b"a\nb");
        text.next(b"");
        assert_eq!(text.end_line(), b"\n");
        assert_eq!(text.end_line(), b"", "once");
    }

    #[test]
    fn a_character_that_is_never_completed_is_escaped() {
        let mut text = TerminalText::default();
        assert_eq!(text.next(b"a\xf0\x9f"), b"a");
        assert_eq!(text.end_line(), [br"\xf0\x9f", &b"\n"[..]].concat());
        assert_eq!(text.end_line(), b"", "once");
        assert_eq!(text.next(b"\xf0\x9f"), b"");
        assert_eq!(text.next(b"a"), br"\xf0\x9fa");
        assert_eq!(text.next(b"\xff\x80"), br"\xff\x80", "these bytes begin no character");
    }
}
