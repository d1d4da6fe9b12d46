//! Tests of the files that results are written to.

use std::os::unix::fs::symlink;

use super::*;

fn output(path: &Path) -> Output {
    path.to_str().unwrap().parse().unwrap()
}

fn failed() -> RunResult {
    RunResult::failed(Vec::new(), "refused")
}

fn measured() -> RunResult {
    let mut result = failed();
    result.messages.received = 1;
    result
}

#[test]
fn a_result_replaces_the_old_one_with_its_mode_and_leaves_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let file = output(&path).open().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old", "until the new one is complete");
    file.write(&measured()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), measured().to_json());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_run_that_measured_nothing_keeps_an_old_result_and_else_writes_why() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["run.json", "run.csv", "run.hgrm", "run.hlog"] {
        let path = folder.path().join(name);
        fs::write(&path, "old").unwrap();
        output(&path).open().unwrap().write(&failed()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old", "{name}");
        fs::write(&path, "").unwrap();
        output(&path).open().unwrap().write(&failed()).unwrap();
        assert_ne!(fs::read(&path).unwrap(), b"", "an empty file is not a result");
    }
}

#[test]
fn a_link_stays_and_its_target_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (link, target) = (folder.path().join("latest.json"), folder.path().join("run-1.json"));
    symlink("run-1.json", &link).unwrap();
    for _ in 0..2 {
        output(&link).open().unwrap().write(&measured()).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("run-1.json"));
        assert_eq!(fs::read_to_string(&target).unwrap(), measured().to_json());
    }
    let circle = folder.path().join("circle.json");
    symlink("circle.json", &circle).unwrap();
    assert!(output(&circle).open().unwrap_err().to_string().starts_with("cannot write "));
}

#[test]
fn a_fifo_without_a_reader_does_not_block_after_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let mut command = std::process::Command::new("mkfifo");
    assert!(command.arg(&path).status().unwrap().success());
    assert!(output(&path).open_after_failure().is_none());
}

#[test]
fn a_log_has_no_name_until_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.hlog");
    let mut file = output(&path).open().unwrap();
    let mut log = file.start_log().unwrap().unwrap();
    log.write_all(b"intervals").unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    file.log_ended();
    file.write(&measured()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"intervals");
}
