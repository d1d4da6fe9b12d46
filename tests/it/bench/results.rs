//! Result files that already exist, several files at once, and FIFOs.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::bench::{bench, bench_json, count, good_json, run_bench};
use crate::support::schema::check_bench_document;
use crate::support::{Process, UnservedPorts, resound, run, wait_until};

const NAMES: [&str; 4] = ["run.json", "run.csv", "run.hgrm", "run.hlog"];
const OLD: &str = "an old result\n";

fn text_of(path: &Path) -> String {
    path.display().to_string()
}

fn fifo(path: &Path) {
    let mut command = Command::new("mkfifo");
    command.arg(path);
    assert_eq!(run(command).code(), 0);
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_result_goes_to_every_named_file() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [&NAMES[..], &["again.json", "again.hlog"]].concat();
    let paths: Vec<_> = paths.iter().map(|name| text_of(&folder.path().join(name))).collect();
    let outputs = paths.iter().flat_map(|path| ["-o", path]);
    let common = ["-c2", "-t300ms", "--warmup=0", "--interval=100ms"];
    let (ended, document) = bench_json(&common.into_iter().chain(outputs).collect::<Vec<_>>());
    assert_eq!(ended.code(), 0);
    // With -J, interval lines go to stderr.
    let intervals = ended.stderr.lines().count();
    assert!(intervals > 0);
    for path in &paths {
        let text = fs::read_to_string(path).unwrap();
        match path.rsplit('.').next().unwrap() {
            "json" => {
                let written: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(written, document);
            }
            "csv" => assert_eq!(text.lines().count(), 2),
            "hgrm" => assert!(text.contains("#[Buckets = "), "{text}"),
            _ => {
                let entries = text.lines().filter(|line| !line.starts_with(['#', '"']));
                assert_eq!(entries.count(), intervals, "{text}");
            }
        }
    }
    assert_eq!(files_in(folder.path()).len(), paths.len());
    let ended = run_bench(&["-n10", "-o", &paths[0], "-o", &paths[0]]);
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr.contains("was given twice"), "{}", ended.stderr);
}

#[test]
fn a_file_with_two_uses_is_refused_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text_of(&folder.path().join(name)).to_owned();
    fs::write(path("old.json"), OLD).unwrap();
    symlink(path("old.json"), path("soft.json")).unwrap();
    let [old, soft, new, other] = ["old.json", "soft.json", "new.html", "./new.html"].map(path);
    let (bench, compare) = (["bench", "-n10"], ["compare", "--a=-d1", "--b=-d2"]);
    for arguments in [
        [&bench[..], &["-o", &new, "--trace", &new]].concat(),
        [&bench[..], &["-o", &new, "--trace", &other]].concat(),
        [&bench[..], &["-o", &new, "-o", &other]].concat(),
        [&bench[..], &["-o", &old, "-o", &soft]].concat(),
        vec!["sweep", "-c1,2", "-n10", "-o", &new, "-o", &other],
        [&compare[..], &["-o", &new, "-o", &other]].concat(),
        vec!["compare", &old, "x.json", "-o", &soft],
        vec!["merge", &old, "x.json", "-o", &soft],
        vec!["report", &new, "-o", &other],
    ] {
        // A page that exists is a file that could be read.
        if arguments[0] == "report" {
            fs::write(&new, OLD).unwrap();
        }
        let ended = run({
            let mut command = resound();
            command.args(&arguments);
            command
        });
        assert_eq!(
            (ended.code(), ended.stderr.lines().count()),
            (2, 1),
            "{arguments:?}: {ended:?}"
        );
        let reasons = ["are the same file: expected", "would replace ", "given twice"];
        let is_named = reasons.iter().any(|reason| ended.stderr.contains(reason));
        assert!(is_named && ended.stderr.contains("such as"), "{arguments:?}: {}", ended.stderr);
        assert_eq!(fs::read_to_string(&old).unwrap(), OLD);
    }
}

#[test]
fn a_killed_run_leaves_the_old_result_and_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let path = folder.path().join(name);
        fs::write(&path, OLD).unwrap();
        let common = ["-c2", "-t10m", "--warmup=0", "--interval=10ms", "-J", "-o"];
        let run = Process::start(bench(&[&common[..], &[&text_of(&path)]].concat()));
        wait_until("some intervals", || run.stderr_text().lines().count() > 5);
        run.signal(Signal::KILL);
        run.wait();
        assert_eq!(fs::read_to_string(&path).unwrap(), OLD, "{name}");
    }
    assert_eq!(files_in(folder.path()).len(), NAMES.len());
}

#[test]
fn a_run_that_measured_nothing_leaves_the_old_result() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let unserved = format!("tcp://{}", UnservedPorts::new().tcp);
    let cases: [&[&str]; 4] = [
        &[&unserved, "-n10"],
        &["--no-such-flag"],
        &["tcp://127.0.0.1:0"],
        &["-l70k", "--transport=udp"],
    ];
    for arguments in cases {
        let failed = || run_bench(&[&["-o", &text_of(&path)], arguments].concat()).code();
        fs::write(&path, OLD).unwrap();
        assert_ne!(failed(), 0, "{arguments:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), OLD, "{arguments:?}");
        fs::remove_file(&path).unwrap();
        assert_ne!(failed(), 0, "{arguments:?}");
        // There is no old result to keep, so the document with the error is written.
        let written: Value = serde_json::from_reader(File::open(&path).unwrap()).unwrap();
        check_bench_document(&written);
        assert_eq!(written["status"], "error");
    }
}

#[test]
fn a_new_result_has_the_mode_of_the_old_one_and_a_link_still_leads_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("run-7.json"), folder.path().join("latest.json"));
    fs::write(&path, OLD).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    symlink("run-7.json", &link).unwrap();
    let document = good_json(&["-n100", "--warmup=0", "-o", &text_of(&link)]);
    let written: Value = serde_json::from_reader(File::open(&path).unwrap()).unwrap();
    assert_eq!(written, document);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o604);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_fifo_is_opened_once_and_its_reader_gets_the_result() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let path = folder.path().join(name);
        fifo(&path);
        let common = ["-c2", "-n100", "--warmup=0", "--timeout=50s", "-o"];
        let run = Process::start(bench(&[&common[..], &[&text_of(&path)]].concat()));
        // The reader sees the end of file when the run closes the FIFO.
        let mut reader = Command::new("cat");
        reader.arg(&path);
        let text = Process::start(reader).wait().stdout_text();
        assert_eq!(run.wait().code(), 0);
        match name {
            "run.json" => {
                let written: Value = serde_json::from_str(&text).unwrap();
                check_bench_document(&written);
                assert_eq!(count(&written, "/messages/received"), 100);
            }
            "run.csv" => assert_eq!(text.lines().count(), 2, "{text}"),
            _ => assert!(text.starts_with("       Value") || text.starts_with("#["), "{text}"),
        }
    }
}

#[test]
fn a_signal_ends_the_wait_for_the_reader_of_a_fifo() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    fifo(&path);
    let run = Process::start(bench(&["-n100", "-o", &text_of(&path)]));
    // The kernel function in which open(2) of a FIFO waits. A kernel may hide it and report 0.
    let state = format!("/proc/{}/wchan", run.pid().as_raw_nonzero());
    wait_until("the wait", || {
        fs::read_to_string(&state).is_ok_and(|at| at == "0" || at.contains("wait_for_partner"))
    });
    run.signal(Signal::TERM);
    assert_ne!(run.wait().status.code(), Some(0));
}

#[test]
fn a_result_written_to_the_file_of_stdout_is_appended_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, link) = (folder.path().join("log.txt"), folder.path().join("run.csv"));
    fs::write(&log, OLD).unwrap();
    symlink("/dev/stdout", &link).unwrap();
    let stdout = File::options().append(true).open(&log).unwrap();
    let command = bench(&["-n100", "--warmup=0", "-o", &text_of(&link)]);
    assert_eq!(Process::start_with(command, Stdio::null(), stdout.into()).wait().code(), 0);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.starts_with(OLD), "{text}");
    assert!(text.contains("latency_ns_p99") && text.contains("round trip"), "{text}");
}
