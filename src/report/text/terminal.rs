//! The report on a terminal: as wide as the terminal, with the main figures at the end.

use super::bars::bars;
use super::page::Page;
use super::{body, count_text, counted, fault, head, rate_of, time_text};
use crate::measured::{Messages, RunResult, Verdict};

impl RunResult {
    /// Returns text for a terminal of this width.
    ///
    /// A terminal shows the end of a long report, so the text ends with what a reader looks for
    /// first: a fault, and the main figures.
    pub fn to_terminal_text(&self, columns: usize) -> String {
        let mut page = Page::new(columns);
        head(self, &mut page);
        body(self, &mut page);
        fault(self, &mut page);
        if self.messages.received > 0 {
            bars(self, &mut page);
            page.entry("result", &result_text(self));
        }
        page.as_str().to_owned()
    }
}

/// Returns the rate, p50 and p99, the losses and the health, on a line or two.
fn result_text(result: &RunResult) -> String {
    let mut text = rate_of(result);
    for name in ["50", "99"] {
        if let Some(value) = result.latency_ns.summary.percentile(name) {
            text.push_str(&format!(", p{name} {}", time_text(value)));
        }
    }
    let Messages { lost, corrupted, .. } = result.messages;
    text.push_str(&format!(", {} lost", count_text(lost)));
    if corrupted > 0 {
        text.push_str(&format!(", {} CORRUPTED", count_text(corrupted)));
    }
    let failed = result.asserts.iter().filter(|outcome| !outcome.held).count();
    if failed > 0 {
        text.push_str(&format!(", {} NOT held", counted(failed as u64, "assert")));
    }
    match result.generator.verdict {
        None => text,
        Some(Verdict::Ok) => text + "; health ok",
        Some(_) => text + "; the generator was the limit: see HEALTH",
    }
}
