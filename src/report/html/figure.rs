//! A figure of the page: a title, the picture, what it shows, and its values as a table.

use maud::{Markup, PreEscaped, html};

use super::chart::Chart;

/// A table of texts. The first cell of a row is its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table with these names of columns.
    pub(super) fn new<T: Into<String>>(head: impl IntoIterator<Item = T>) -> Table {
        Table { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(super) fn push<T: Into<String>>(&mut self, row: impl IntoIterator<Item = T>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    /// `caption`: what the table shows. A table that is wider than the page scrolls, so the
    /// keyboard must reach it.
    pub(super) fn html(&self, caption: &str) -> Markup {
        html! {
            div.scroll tabindex="0" role="region" aria-label=(caption) {
                table {
                    caption.hidden { (caption) }
                    thead { tr { @for name in &self.head { th scope="col" { (name) } } } }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (index, cell) in row.iter().enumerate() {
                                    @if index == 0 { th scope="row" { (cell) } }
                                    @else { td { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A figure of the page.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) id: String,
    pub(super) title: String,
    /// What to see in it, in a sentence.
    pub(super) text: String,
    pub(super) chart: Chart,
    pub(super) table: Table,
}

impl Figure {
    pub(super) fn html(&self) -> Markup {
        let title_id = format!("{}-title", self.id);
        let data = serde_json::to_string(&self.chart).unwrap_or_default();
        html! {
            figure #(self.id) aria-labelledby=(title_id) {
                h3 #(title_id) { (self.title) }
                div.plot tabindex="0" role="group" aria-label=(format!("figure: {}", self.title)) {
                    (self.chart.svg(&format!("{}. {}", self.title, self.text)))
                }
                (self.chart.legend())
                p.reading aria-live="polite" {}
                figcaption { (self.text) }
                details {
                    summary { "Values of this figure" }
                    (self.table.html(&format!("values: {}", self.title)))
                }
                script.data type="application/json" { (script_json(&data)) }
            }
        }
    }
}

/// Returns JSON for a `script` element, which ends at the first `</script` wherever it stands, and
/// does not decode entities. `<` outside of a text is not JSON, and in a text it may be escaped.
pub(super) fn script_json(json: &str) -> PreEscaped<String> {
    let escapes = [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")];
    let escapes = escapes.into_iter().chain([('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]);
    let mut text = json.to_owned();
    for (c, escape) in escapes {
        if text.contains(c) {
            text = text.replace(c, escape);
        }
    }
    PreEscaped(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn any_text_stays_inside_of_its_script(text in r"(<|/|!--|script|>|&|[a-z]|\PC){0,40}") {
            let value = json!({"label": text});
            let written = script_json(&value.to_string()).0;
            prop_assert!(!written.contains(['<', '>', '&']));
            prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value);
        }
    }
}
