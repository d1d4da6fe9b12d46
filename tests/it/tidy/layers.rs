//! What each module may import, and what only one module may do.

use super::{Source, assert_none, sources};

/// The modules of the crate from top to bottom, with the modules that each may import. No module
/// imports upwards, and siblings do not import each other.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "daemon",
            "experiment",
            "echo",
            "load",
            "prober",
            "ping",
            "send",
            "report",
            "measured",
            "trace",
            "reactor",
            "socket",
            "process",
            "escape",
            "readiness",
            "endpoint",
            "error",
            "units",
        ],
    ),
    (
        "daemon",
        &[
            "echo",
            "trace",
            "metrics",
            "reactor",
            "socket",
            "process",
            "escape",
            "readiness",
            "endpoint",
            "error",
            "units",
        ],
    ),
    ("experiment", &["measured", "stats", "process", "endpoint", "error", "units"]),
    ("echo", &["reactor", "socket", "process", "readiness", "endpoint", "error", "units"]),
    (
        "load",
        &[
            "measured",
            "trace",
            "process",
            "reactor",
            "socket",
            "readiness",
            "endpoint",
            "error",
            "units",
        ],
    ),
    ("prober", &["ping", "metrics", "measured", "process", "endpoint", "error", "units"]),
    ("ping", &["client", "measured", "socket", "process", "endpoint", "error", "units"]),
    ("send", &["client", "socket", "process", "endpoint", "error", "units"]),
    ("client", &["socket", "process", "endpoint", "error"]),
    ("report", &["measured", "process", "error", "units"]),
    ("measured", &["stats", "error", "units"]),
    ("stats", &[]),
    ("trace", &["reactor", "process", "readiness", "error", "units"]),
    ("metrics", &["reactor", "socket", "process", "readiness", "endpoint", "error"]),
    ("testing", &["reactor", "socket", "readiness"]),
    ("reactor", &["readiness", "units"]),
    ("process", &["socket", "error"]),
    ("socket", &["endpoint", "error", "units"]),
    ("escape", &[]),
    ("readiness", &[]),
    ("endpoint", &[]),
    ("error", &[]),
    ("units", &[]),
];

/// The only module that may contain `unsafe`, with its tests.
const UNSAFE_MODULE: &str = "src/socket/sys";

/// Returns the modules of this crate that a file imports, with the line numbers.
fn imports(path: &str, text: &str) -> Vec<(usize, String)> {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut depth = inside.split('/').count();
    let mut inner_modules = Vec::new();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let (indentation, code) = code.split_at(code.len() - code.trim_start().len());
        if code.ends_with('{') && code.trim_start_matches("pub ").starts_with("mod ") {
            inner_modules.push(indentation.to_owned());
            depth += 1;
        } else if code == "}" && inner_modules.last().is_some_and(|inner| inner == indentation) {
            inner_modules.pop();
            depth -= 1;
        }
        let root = "super::".repeat(depth);
        for prefix in ["crate::", "resound::", root.as_str()] {
            for import in code.split(prefix).skip(1) {
                let name = import.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                let module = match name {
                    "Error" | "reason" => "error",
                    "Readiness" => "readiness",
                    other => other,
                };
                found.push((number + 1, module.to_owned()));
            }
        }
    }
    found
}

/// Returns the imports that the layer of a file forbids. Imports in braces after `crate::` also
/// count as wrong, because this does not parse braces.
fn wrong_imports(path: &str, text: &str) -> Vec<String> {
    let own = path.split(['/', '.']).nth(1).unwrap_or_default();
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == own) else {
        return vec![format!("{path} is in no layer")];
    };
    // The compiler limits "testing" to tests.
    let is_wrong = |module: &str| ![own, "testing"].contains(&module) && !allowed.contains(&module);
    let wrong = imports(path, text).into_iter().filter(|(_, module)| is_wrong(module));
    wrong.map(|(number, module)| format!("{path}:{number}: imports {module:?}")).collect()
}

#[test]
fn layers_point_one_way() {
    for (at, (layer, allowed)) in LAYERS.iter().enumerate() {
        let is_below = |name: &&str| LAYERS[at + 1..].iter().any(|(below, _)| below == name);
        assert!(allowed.iter().all(is_below), "{layer} imports only what is below");
    }
    // The root of the library names every module and imports none.
    let is_code = |source: &Source| source.path.starts_with("src/") && source.path != "src/lib.rs";
    let sources = sources().into_iter().filter(is_code);
    let found: Vec<_> =
        sources.flat_map(|Source { path, text }| wrong_imports(&path, &text)).collect();
    assert_none("imports that point up or aside", &found);
}

#[test]
fn an_import_that_points_up_or_aside_is_found_in_every_spelling() {
    for (path, text) in [
        ("src/echo.rs", "use crate::daemon::Options;"),
        ("src/echo.rs", "use crate::load::Options;"),
        ("src/echo.rs", "use super::load::Options;"),
        ("src/echo.rs", "    let options = crate::load::Options::default();"),
        ("src/echo/stream/tests.rs", "use super::super::super::load::Options;"),
        ("src/echo/stream.rs", "mod tests {\n    use super::super::super::load::Options;\n}"),
        ("src/reactor.rs", "use crate::{endpoint, readiness};"),
        ("src/reactor/turn.rs", "use crate::Error;"),
        ("src/daemon.rs", "use resound::load::Options;"),
        ("src/daemon.rs", "use crate::cli::serve;"),
        ("src/main.rs", "use resound::daemon;"),
        ("src/elsewhere.rs", ""),
    ] {
        assert_eq!(wrong_imports(path, text).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("src/echo.rs", "use crate::reactor::Key;"),
        ("src/echo.rs", "use super::reactor::Key;"),
        ("src/echo/stream.rs", "use super::load::Key; // of echo"),
        ("src/echo/stream.rs", "mod tests {\n    use super::super::load::Key;\n}"),
        ("src/cli/serve.rs", "use resound::Error;\nuse crate::cli::values;"),
        ("src/reactor.rs", "use crate::Readiness; // not crate::endpoint"),
    ] {
        assert_eq!(wrong_imports(path, text), [""; 0], "{text}");
    }
}

#[test]
fn unsafe_lives_in_one_module_and_clap_in_the_command_line() {
    let mut found = Vec::new();
    for Source { path, text } in sources().into_iter().filter(|source| !source.is_tidy()) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let has_unsafe = code.contains("unsafe ") || code.contains("allow(unsafe_code)");
            if has_unsafe && !path.starts_with(UNSAFE_MODULE) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
            if code.contains("clap::") && !path.starts_with("src/cli") {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("out of place", &found);
}

#[test]
fn modules_below_the_command_line_neither_print_nor_exit() {
    let mut found = Vec::new();
    for Source { path, text } in sources() {
        if !path.starts_with("src/") || path.starts_with("src/cli") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if ["print!(", "println!(", "process::exit"].iter().any(|word| code.contains(word)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("prints or exits", &found);
}
