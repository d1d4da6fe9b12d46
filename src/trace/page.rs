//! A trace as a page that steps through the turns. It loads nothing: the turns and the code of the
//! loop are in it, and its policy permits its own script and style alone, by their hashes.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, PreEscaped, html};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Shared;
use super::code;
use super::names::{end_name, mark_name, readiness_words, result_name, wait_name};
use super::ring::{NO_TIMEOUT, Record, Ring, Slice, Turn};
use crate::reactor::Key;

const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");

/// Where the data goes in the page.
const DATA: &str = "{{data}}";

/// Writes the latest ring of each loop.
pub(super) fn write(
    out: &mut impl Write,
    shared: &Shared,
    rings: &[Option<Arc<Ring>>],
) -> io::Result<()> {
    let title = format!("resound {}: the turns of its loops", shared.command);
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                noscript { "This page steps through the turns by its own script, which is off." }
                main {}
                script #data type="application/json" { (DATA) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    let page = page.into_string();
    let (before, behind) = page.split_once(DATA).expect("the page has a place for the data");
    out.write_all(before.as_bytes())?;
    write_data(out, &title, rings)?;
    out.write_all(behind.as_bytes())
}

/// Writes the JSON that `page.js` reads, turn by turn: as a whole, the values of a full trace would
/// take several times the memory of the rings.
fn write_data(out: &mut impl Write, title: &str, rings: &[Option<Arc<Ring>>]) -> io::Result<()> {
    let mut words = Words::default();
    let (title, code) = (text(&json!(title)), text(&json!(code::lines())));
    write!(out, "{{\"title\":{title},\"code\":{code},\"loops\":[")?;
    for (place, ring) in rings.iter().flatten().enumerate() {
        let mut sources = Sources::default();
        write!(out, "{}{{\"turns\":[", comma(place))?;
        for (place, (number, turn, records)) in ring.turns().into_iter().enumerate() {
            let data = turn_data(number, &turn, records, &mut sources, &mut words);
            write!(out, "{}{}", comma(place), text(&data))?;
        }
        write!(out, "],\"sources\":{}}}", text(&json!(sources.list)))?;
    }
    write!(out, "],\"words\":{}}}", text(&json!(words.list)))
}

/// Returns what separates an item from the one before.
fn comma(place: usize) -> &'static str {
    if place == 0 { "" } else { "," }
}

/// Returns JSON text that does not end the element of the page that has it.
fn text(value: &Value) -> String {
    // JSON text has `<` only in its strings.
    value.to_string().replace('<', "\\u003c")
}

/// Returns the hash by which the policy permits an inline script or style.
fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// Words that turns refer to by their index.
#[derive(Debug, Default)]
struct Words {
    list: Vec<String>,
    indexes: HashMap<String, usize>,
}

impl Words {
    fn index(&mut self, word: &str) -> usize {
        if let Some(index) = self.indexes.get(word) {
            return *index;
        }
        self.list.push(word.to_owned());
        self.indexes.insert(word.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }
}

/// The sources of a loop that turns refer to by their index.
#[derive(Debug, Default)]
struct Sources {
    /// Slot, generation, and the word of its kind.
    list: Vec<(usize, usize, usize)>,
    indexes: HashMap<Key, usize>,
}

impl Sources {
    fn index(&mut self, key: Key, kind: &str, words: &mut Words) -> usize {
        *self.indexes.entry(key).or_insert_with(|| {
            self.list.push((key.index(), key.generation(), words.index(kind)));
            self.list.len() - 1
        })
    }
}

/// Returns a turn in the form that `page.js` reads.
fn turn_data(
    number: u64,
    turn: &Turn,
    records: &[Record],
    sources: &mut Sources,
    words: &mut Words,
) -> Value {
    let mut data = Vec::new();
    for (at, record) in records.iter().enumerate() {
        data.push(match record {
            Record::Mark(mark) => json!([
                0,
                sources.index(mark.key, mark.kind, words),
                words.index(mark_name(mark.by)),
                words.index(&readiness_words(mark.readiness)),
                u8::from(mark.is_stale)
            ]),
            Record::Slice(slice) => {
                let source = sources.index(slice.key, slice.kind, words);
                slice_data(slice, source, &records[at + 1..], words)
            }
            Record::Opened { key, kind, .. } => json!([2, sources.index(*key, kind, words)]),
            Record::Closed { key, kind, .. } => json!([3, sources.index(*key, kind, words)]),
            Record::Signal { signal, .. } => json!([4, signal]),
            // The slice before has it.
            Record::Call(_) | Record::Turn(_) => continue,
        });
    }
    let timeout = (turn.timeout_ns != NO_TIMEOUT).then_some(turn.timeout_ns);
    json!([
        number,
        turn.begun_ns,
        turn.waited_ns - turn.begun_ns,
        turn.run_ns.saturating_sub(turn.waited_ns),
        turn.ended_ns.saturating_sub(turn.run_ns),
        timeout,
        words.index(wait_name(turn.waited)),
        turn.ready_before,
        turn.ready,
        turn.ready_after,
        turn.sources,
        turn.idle_before,
        data
    ])
}

/// Returns a slice with its system calls: of each its name, its time, and what it returned.
/// `behind` are the records behind the slice, which begin with its calls.
fn slice_data(slice: &Slice, source: usize, behind: &[Record], words: &mut Words) -> Value {
    let mut data = vec![
        json!(1),
        json!(source),
        json!(slice.to_ns - slice.from_ns),
        json!(slice.bytes_in),
        json!(slice.bytes_out),
        json!(slice.messages_in),
        json!(slice.messages_out),
        json!(words.index(end_name(slice.end))),
    ];
    for record in behind {
        let Record::Call(call) = record else { break };
        data.push(json!(words.index(call.name)));
        data.push(json!(call.to_ns - call.from_ns));
        data.push(match call.result {
            Ok(amount) => json!(amount),
            Err(_) => json!(result_name(call.result)),
        });
    }
    Value::Array(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::chrome::tests::{full_ring, write_rings};

    /// Keeps what is written, and the length of the longest piece.
    #[derive(Default)]
    struct Pieces {
        bytes: Vec<u8>,
        longest: usize,
    }

    impl Write for Pieces {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            self.bytes.extend_from_slice(piece);
            self.longest = self.longest.max(piece.len());
            Ok(piece.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The values of a whole trace take hundreds of megabytes.
    #[test]
    fn a_page_has_the_turns_of_all_loops_and_is_written_turn_by_turn() {
        const CAPACITY: usize = 10_000;
        let rings = vec![full_ring(CAPACITY), full_ring(CAPACITY)];
        let turns = rings[0].turns().len();
        let mut pieces = Pieces::default();
        write_rings(rings, |shared, rings| write(&mut pieces, shared, rings));
        let page = String::from_utf8(pieces.bytes).unwrap();
        assert!(pieces.longest < 64 << 10 && page.len() > 400_000, "{} bytes", pieces.longest);
        let (_, data) = page.split_once("type=\"application/json\">").unwrap();
        let (data, _) = data.split_once("</script>").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        let loops = data["loops"].as_array().unwrap();
        assert_eq!(loops.len(), 2);
        for own in loops {
            assert_eq!(own["turns"].as_array().unwrap().len(), turns);
            assert_eq!(own["sources"].as_array().unwrap().len(), 50);
        }
        assert!(data["code"].as_array().unwrap().len() > 10);
        assert!(data["words"].as_array().unwrap().iter().any(|word| word == "recvfrom"));
    }
}
