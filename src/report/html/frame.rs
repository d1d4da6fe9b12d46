//! The frame of every page: the policy, the styles, the scripts and the documents.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::figure::script_json;
use super::slim::within_bound;
use crate::measured::PROGRAM;

const STYLE: &str = concat!(include_str!("assets/uPlot.min.css"), include_str!("assets/page.css"));

/// The library that draws figures. Its first line names its licence.
const UPLOT: &str = include_str!("assets/uPlot.iife.min.js");

const SCRIPT: &str = include_str!("assets/page.js");

/// Returns the whole page. `documents`: each with its name, to be saved from the page. If there is
/// one, the page may hold a smaller copy of it.
pub(super) fn framed(title: &str, body: &Markup, documents: &[(&str, &Value)]) -> String {
    within_bound(documents, |documents, lacks| whole(title, body, documents, lacks))
}

/// `lacks`: what the documents leave out, to keep the page small.
fn whole(title: &str, body: &Markup, documents: &[(&str, &Value)], lacks: Option<&str>) -> String {
    let (style, script) = (compact(STYLE), compact(SCRIPT));
    let policy = format!(
        "default-src 'none'; script-src {} {}; style-src {}; base-uri 'none'; form-action 'none'",
        hash(UPLOT),
        hash(&script),
        hash(&style)
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="generator" content=(PROGRAM);
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body {
                main { (body) }
                (documents_html(documents, lacks))
                script { (PreEscaped(UPLOT)) }
                script { (PreEscaped(script)) }
            }
        }
    };
    page.into_string()
}

/// Puts the documents into the page, with a button that saves each.
fn documents_html(documents: &[(&str, &Value)], lacks: Option<&str>) -> Markup {
    html! {
        footer {
            p {
                "Made by " (PROGRAM) ". This page loads nothing: it can be sent as one file, and \
                 holds the "
                @if let Some(lacks) = lacks {
                    "result as JSON. To keep the page small, this JSON leaves out " (lacks) "; \
                     the figures and tables show the whole result, and the file that -o FILE.json \
                     writes has it all."
                } @else { "whole result as JSON." }
            }
            p.needs-script {
                @for (index, (name, _)) in documents.iter().enumerate() {
                    button type="button" data-save=(format!("document-{index}"))
                        data-file=(file_name(name, index)) {
                        "Save JSON" @if documents.len() > 1 { " of " (name) }
                    }
                }
            }
        }
        @for (index, (_, document)) in documents.iter().enumerate() {
            script #(format!("document-{index}")) type="application/json" {
                (script_json(&document.to_string()))
            }
        }
    }
}

/// Returns a file name from the name of a document, which can be any text.
fn file_name(name: &str, index: usize) -> String {
    /// File systems take at least this many characters.
    const CHARS_MAX: usize = 60;
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let text: String = name.chars().map(plain).take(CHARS_MAX).collect();
    match text.trim_matches('-') {
        "" => format!("resound-{index}.json"),
        text => format!("{text}.json"),
    }
}

/// Returns the lines without their indentation. No text in them goes over several lines.
fn compact(text: &str) -> String {
    text.lines().map(str::trim_start).collect::<Vec<_>>().join("\n")
}

/// Returns the hash by which the policy permits an inline script or style.
fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}
