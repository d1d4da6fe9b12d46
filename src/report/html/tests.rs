use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::measured::{Histograms, Outcome, Slot, Status, Warning, samples};

const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\"'&<!--";

/// Returns the text between two marks.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    page.split_once(from).unwrap().1.split_once(to).unwrap().0
}

#[test]
fn a_page_holds_its_document() {
    let result = samples::open_run();
    let page = run_page(&result);
    let json = between(&page, "<script id=\"document-0\" type=\"application/json\">", "</script>");
    let document: Value = serde_json::from_str(json).unwrap();
    assert_eq!(document, serde_json::to_value(&result).unwrap());
}

#[test]
fn a_page_says_whether_its_document_is_whole() {
    let mut result = samples::open_run();
    result.histograms = Histograms::of(&result);
    assert!(run_page(&result).contains("and holds the whole result as JSON."));
    result.histograms.first_third = Some("A".repeat(200 << 10));
    let page = run_page(&result);
    let lacks = "and holds the result as JSON. To keep the page small, this JSON leaves out the \
                 histograms of the thirds of a run; the figures";
    assert!(page.contains(lacks) && !page.contains("whole result as JSON"), "{}", page.len());
    result.histograms.tcp_rtt = Some("A".repeat(200 << 10));
    let lacks = "leaves out the timeline and all histograms; the figures";
    assert!(run_page(&result).contains(lacks));
}

#[test]
fn a_page_names_the_main_figures_without_scripts() {
    let page = run_page(&samples::open_run());
    for text in ["99,990", "of 100,000 asked for", "Latency by percentile", "<svg", "lab-7"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn hostile_text_is_escaped_wherever_it_stands() {
    let mut result = samples::open_run();
    result.label = Some(HOSTILE.to_owned());
    result.endpoint = HOSTILE.to_owned();
    result.environment.host = HOSTILE.to_owned();
    result.options.typed = vec![HOSTILE.to_owned()];
    result.warnings = vec![Warning(HOSTILE.to_owned())];
    (result.status, result.error) = (Status::Partial, Some(HOSTILE.to_owned()));
    result.asserts = vec![Outcome { expression: HOSTILE.to_owned(), value: None, held: false }];
    result.timeline = vec![Slot { histogram: Some(HOSTILE.to_owned()), ..Slot::default() }];
    let page = run_page(&result);
    assert!(!page.contains("<img") && !page.contains("<!--"));
    let mut plain = samples::open_run();
    plain.timeline = vec![Slot::default()];
    let plain = run_page(&plain);
    assert_eq!(page.matches("</script>").count(), plain.matches("</script>").count());
}

#[test]
fn a_run_that_measured_nothing_has_a_page() {
    let page = run_page(&RunResult::failed(vec!["bench".to_owned()], "cannot connect: refused"));
    assert!(page.contains("cannot connect: refused") && page.contains("resound bench</code>"));
}

proptest! {
    #[test]
    fn any_course_of_a_run_makes_a_page(
        slots in prop::collection::vec((any::<u64>(), any::<u64>(), any::<Option<u64>>()), 0..120),
    ) {
        let mut result = samples::open_run();
        let slot = |(end_ns, received, max)| Slot { end_ns, received, max, ..Slot::default() };
        result.timeline = slots.into_iter().map(slot).collect();
        prop_assert!(!run_page(&result).contains("NaN"));
    }
}
