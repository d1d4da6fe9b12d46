//! A simple parser for the parts of a Markdown page that the tests check.

use std::collections::BTreeSet;

/// The parts of a page that the tests check.
pub struct Page {
    pub blocks: Vec<Block>,
    /// Lines outside of sessions that look like commands, with their numbers.
    pub stray_commands: Vec<String>,
    /// The targets of links within the project.
    pub links: Vec<String>,
    /// The names of headings that a link can have after `#`.
    pub anchors: BTreeSet<String>,
    /// The code within text and tables.
    pub inline_code: Vec<String>,
}

/// A fenced block.
pub struct Block {
    pub line: usize,
    pub language: String,
    pub marker: Option<Marker>,
    pub commands: Vec<Command>,
}

/// A comment on the line above a block.
#[derive(Clone)]
pub enum Marker {
    NotRun(String),
    RunBy(String),
    Needs(String),
}

/// A command, and the output that the page shows.
pub struct Command {
    pub line: usize,
    pub text: String,
    pub output: Vec<String>,
}

impl Block {
    pub fn is_session(&self) -> bool {
        self.language == "console" || self.is_to_paste()
    }

    /// Returns true if the block can be pasted: each line is a command, without a prompt.
    fn is_to_paste(&self) -> bool {
        self.language == "sh"
    }
}

impl Page {
    pub fn parse(name: &str, text: &str) -> Page {
        let mut page = Page {
            blocks: Vec::new(),
            stray_commands: Vec::new(),
            links: Vec::new(),
            anchors: BTreeSet::new(),
            inline_code: Vec::new(),
        };
        let mut marker = None;
        let mut lines = (1..).zip(text.lines());
        while let Some((number, line)) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let body = lines.by_ref().take_while(|(_, line)| *line != "```");
                page.take_block(number, language, marker.take(), body);
                continue;
            }
            marker = Marker::parse(line);
            if let Some(heading) = line.strip_prefix('#') {
                page.anchors.insert(anchor(heading.trim_start_matches('#').trim()));
            }
            if line.starts_with("    ") && is_command(line.trim_start()) {
                page.stray_commands.push(format!("{number}: {line}"));
            }
            page.take_text(line);
        }
        assert!(!page.anchors.is_empty(), "{name} has a heading");
        page
    }

    fn take_block<'a>(
        &mut self,
        line: usize,
        language: &str,
        marker: Option<Marker>,
        body: impl Iterator<Item = (usize, &'a str)>,
    ) {
        let language = language.to_owned();
        let mut block = Block { line, language, marker, commands: Vec::new() };
        for (line, text) in body {
            let command = match block.is_to_paste() {
                true => Some(text),
                false => text.strip_prefix("$ ").filter(|_| block.is_session()),
            };
            if let Some(command) = command {
                let text = command.to_owned();
                block.commands.push(Command { line, text, output: Vec::new() });
            } else if let Some(command) = block.commands.last_mut() {
                command.output.push(text.to_owned());
            } else if block.is_session() || is_command(text) {
                self.stray_commands.push(format!("{line}: {text}"));
            }
        }
        self.blocks.push(block);
    }

    fn take_text(&mut self, line: &str) {
        for (index, piece) in line.split('`').enumerate() {
            if index % 2 == 1 {
                self.inline_code.push(piece.to_owned());
            }
        }
        for piece in line.split("](").skip(1) {
            let target = piece.split(')').next().unwrap_or_default();
            if !target.contains("://") {
                self.links.push(target.to_owned());
            }
        }
    }
}

impl Marker {
    fn parse(line: &str) -> Option<Marker> {
        let text = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
        let rest = |prefix: &str| text.strip_prefix(prefix).map(str::to_owned);
        rest("not run: ")
            .map(Marker::NotRun)
            .or_else(|| rest("run by ").map(Marker::RunBy))
            .or_else(|| rest("needs ").map(Marker::Needs))
    }
}

fn is_command(line: &str) -> bool {
    ["$ ", "resound ", "cargo ", "cc ", "cd ", "scripts/", ".ci/", "target/"]
        .iter()
        .any(|start| line.starts_with(start))
}

/// Returns the anchor that GitHub derives from a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
