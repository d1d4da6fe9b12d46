//! Bytes of strangers made fit for a terminal.

/// The longest complaint: enough for two paths, too short to flood a terminal.
const LINE_CHARS_MAX: usize = 600;

/// Appends `bytes` as text when it is printable UTF-8, else escaped throughout (`\n`, `\xff`,
/// `\u{202e}`, and `\\` for a backslash): one line either way.
pub(super) fn push_message(line: &mut Vec<u8>, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_printable) => line.extend_from_slice(bytes),
        _ => push_escaped(line, bytes, |c| is_printable(c) && c != '\\'),
    }
}

/// Appends `bytes` for a terminal: line ends and tabs stay, what is not printable is escaped.
pub(super) fn push_for_terminal(line: &mut Vec<u8>, bytes: &[u8]) {
    push_escaped(line, bytes, |c| is_printable(c) || c == '\n' || c == '\t');
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

/// Neither a control character, nor one that reorders or hides text, nor a lone combining mark.
fn is_printable(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}

/// What the user typed, cut to a length that leaves room for more on the line.
pub(super) fn shortened(typed: &str) -> String {
    const SHORT_CHARS_MAX: usize = 100;
    match typed.char_indices().nth(SHORT_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &typed[..cut]),
        None => typed.to_owned(),
    }
}

/// A message of our own that may quote a stranger's bytes, on one line of bounded length.
pub(super) fn one_line(message: &str) -> String {
    let mut line = Vec::new();
    push_escaped(&mut line, message.as_bytes(), is_printable);
    let line = String::from_utf8_lossy(&line);
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((cut, _)) => format!("{}… (cut)", &line[..cut]),
        None => line.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn what_could_fool_a_terminal_is_escaped() {
        assert_eq!(message(b"a\x1b[2J"), r"a\x1b[2J");
        assert_eq!(message(b"line\n"), r"line\n");
        assert_eq!(message(b"\xff\x00"), r"\xff\x00");
        assert_eq!(message("\u{202e}x".as_bytes()), r"\u{202e}x");
        assert_eq!(message(b"\\\n"), r"\\\n", "a backslash is told from an escape");
    }

    #[test]
    fn a_terminal_keeps_its_line_ends() {
        let mut line = Vec::new();
        push_for_terminal(&mut line, b"a\tb\n\x07");
        assert_eq!(line, b"a\tb\n\\x07");
    }

    proptest! {
        /// case P6
        #[test]
        fn any_bytes_become_one_line_without_control_characters(bytes: Vec<u8>) {
            let line = message(&bytes);
            prop_assert!(!line.contains(char::is_control), "{:?}", line);
            prop_assert!(!one_line(&String::from_utf8_lossy(&bytes)).contains(char::is_control));
        }
    }
}
