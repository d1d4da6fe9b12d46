//! The lines of the loop's code, each with what must happen in a turn for it to run.

/// The file that the page shows.
const TURN: &str = include_str!("../reactor/turn.rs");

/// The functions that are shown, each with what must happen for its lines to run.
const FUNCTIONS: &[(&str, &str)] = &[
    ("turn_within", "turn"),
    ("wait", "wait"),
    ("mark", "mark"),
    ("run_ready", "run"),
    ("run_slice", "slice"),
];

/// How far a rule reaches from the line that contains its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Line,
    /// The lines below that are indented further.
    Block,
    /// All lines of the function below its block.
    Rest,
}

/// Exceptions within a function: its name, a text that one line contains, and what must happen for
/// the lines in this scope to run. Later rules win.
const RULES: &[(&str, &str, Scope, &str)] = &[
    ("turn_within", "if let Some(meter)", Scope::Block, ""),
    ("wait", "if !has_work && self.mark_hot()", Scope::Block, "skipped"),
    ("wait", "if !has_work && self.mark_hot()", Scope::Rest, "poll"),
    ("wait", "Some(Duration::ZERO)", Scope::Line, "no sleep"),
    ("wait", "if self.is_now_old", Scope::Line, "sleep"),
    ("wait", "if self.is_now_old", Scope::Block, ""),
    ("wait", "earlier(self.until_due", Scope::Line, "sleep"),
    ("wait", "if timeout.is_none()", Scope::Line, ""),
    ("wait", "if timeout.is_none()", Scope::Block, ""),
    ("wait", "Err(error) if", Scope::Block, "interrupted"),
    ("wait", "other => {", Scope::Block, "polled"),
    ("mark", "for event in", Scope::Block, "event"),
    ("mark", "INBOX =>", Scope::Line, ""),
    ("mark", "SIGNALS =>", Scope::Line, "signal"),
    ("mark", "if is_stale {", Scope::Block, "stale"),
    ("mark", "} else {", Scope::Block, "fresh"),
    ("mark", "slots.mark_due(", Scope::Block, "timer"),
    ("run_ready", "for _ in", Scope::Block, "slice"),
    ("run_slice", "let Some(source)", Scope::Block, ""),
    ("run_slice", "if next == Next::Close", Scope::Block, "closed"),
    ("run_slice", "if next == Next::Close", Scope::Rest, "stays"),
    ("run_slice", "if next == Next::Again", Scope::Block, "used up"),
    ("run_slice", "let Some(slot)", Scope::Block, ""),
    ("run_slice", "if next == Next::Wait", Scope::Block, ""),
    ("run_slice", "if mem::replace", Scope::Block, ""),
];

/// Returns each line of the functions with its number and what must happen for it to run. An empty
/// text means that a trace cannot tell.
pub(super) fn lines() -> Vec<(usize, &'static str, &'static str)> {
    FUNCTIONS.iter().flat_map(|(name, tag)| function(name, tag)).collect()
}

fn function(name: &str, tag: &'static str) -> Vec<(usize, &'static str, &'static str)> {
    let all: Vec<&str> = TURN.lines().collect();
    let head = format!(" fn {name}");
    let is_head =
        |line: &&str| line.split_once(&head).is_some_and(|(_, rest)| rest.starts_with(['(', '<']));
    let first = all.iter().position(is_head).unwrap_or(0);
    let length = all[first..].iter().position(|line| *line == "    }").map_or(1, |last| last + 1);
    let text = &all[first..first + length];
    let mut tags = vec![tag; length];
    for (_, part, scope, tag) in RULES.iter().filter(|(function, ..)| *function == name) {
        let Some(at) = text.iter().position(|line| line.contains(part)) else { continue };
        let indentation = indentation(text[at]);
        let is_inside = |line: &&str| line.is_empty() || self::indentation(line) > indentation;
        let block = text[at + 1..].iter().take_while(|line| is_inside(line)).count();
        let range = match scope {
            Scope::Line => at..at + 1,
            Scope::Block => at + 1..at + 1 + block,
            Scope::Rest => at + 1 + block..length,
        };
        tags[range].fill(tag);
    }
    let is_code = |line: &str| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with("//") && !line.starts_with("#[")
    };
    let numbered = text.iter().zip(tags).enumerate();
    numbered
        .map(|(at, (line, tag))| (first + at + 1, *line, if is_code(line) { tag } else { "" }))
        .collect()
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_names_one_line_of_a_function_that_exists() {
        for (name, tag) in FUNCTIONS {
            let lines = function(name, tag);
            assert!(lines.len() > 5 && lines[0].1.contains(&format!("fn {name}")), "{name}");
            assert_eq!(lines.last().unwrap().1, "    }");
        }
        for (name, part, ..) in RULES {
            let lines = function(name, "");
            let found = lines.iter().filter(|(_, line, _)| line.contains(part)).count();
            assert_eq!(found, 1, "{name}: {part}");
        }
    }

    #[test]
    fn the_lines_of_each_branch_are_those_that_it_runs() {
        let lines = lines();
        let tag_of = |part: &str| {
            let found: Vec<_> = lines.iter().filter(|(_, line, _)| line.contains(part)).collect();
            assert_eq!(found.len(), 1, "{part}");
            found[0].2
        };
        assert_eq!(tag_of("self.wait(sleep_max)"), "turn");
        assert_eq!(tag_of("self.poll.poll("), "poll");
        assert_eq!(tag_of("events_stale += 1"), "stale");
        assert_eq!(tag_of("counts.events += 1"), "fresh");
        assert_eq!(tag_of("slices_used_up += 1"), "used up");
        assert_eq!(tag_of("handler.ready_traced("), "slice");
        assert_eq!(tag_of("slot.readiness = readiness"), "stays");
    }
}
