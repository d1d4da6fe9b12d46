//! Lengths of lines, functions and files.

use super::{Source, assert_none, sources};

const LINE_COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 450;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn lines_and_files_are_short() {
    let mut found = Vec::new();
    for Source { path, text } in sources() {
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_COLUMNS_MAX {
                found.push(format!("{path}:{} is too long a line", number + 1));
            }
        }
        if text.lines().count() > FILE_LINES_MAX {
            found.push(format!("{path} has {} lines", text.lines().count()));
        }
    }
    assert_none("too long", &found);
}

/// rustfmt indents the end of a function like its beginning.
#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for Source { path, text } in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let indentation = line.len() - line.trim_start().len();
            let is_function = line.trim_start().split("fn ").next().is_some_and(|before| {
                before.len() < line.trim_start().len()
                    && before
                        .split_whitespace()
                        .all(|word| word.starts_with("pub") || word == "const" || word == "unsafe")
            });
            let end = format!("{}}}", " ".repeat(indentation));
            let is_end = |line: &&&str| **line == end;
            let is_one_line = line.ends_with(';') || line.ends_with('}');
            if !is_function || is_one_line {
                continue;
            }
            let length = lines[start..].iter().take_while(|line| !is_end(line)).count() + 1;
            if length > FUNCTION_LINES_MAX && length < lines.len() - start {
                found.push(format!("{path}:{} has {length} lines", start + 1));
            }
        }
    }
    assert_none("functions too long", &found);
}
