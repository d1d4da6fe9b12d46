//! A process cannot leave the sandbox, so each test enters it in a process of its own: this test
//! program, started once more. `tests/it/sandbox` tests from outside what `serve` asks for.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::{ExitStatusExt, parent_id};
use std::process::{Command, Output};
use std::thread;

use super::*;

/// Set in the process that enters the sandbox.
const INSIDE: &str = "RESOUND_TEST_INSIDE_SANDBOX";

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the test of this name in a new process.
fn run_inside(name: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let path = format!("daemon::sandbox::tests::{name}");
    command.args(["--exact", &path, "--nocapture"]).env(INSIDE, "1").output().unwrap()
}

fn is_refused<T>(outcome: std::io::Result<T>) -> bool {
    outcome.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

#[test]
fn figures_of_the_process_can_be_read_and_sent_if_they_are_needed() {
    if !is_inside() {
        let name = "figures_of_the_process_can_be_read_and_sent_if_they_are_needed";
        let ended = run_inside(name);
        let output = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{output}{}", String::from_utf8_lossy(&ended.stderr));
        assert!(output.contains("1 passed"), "{output}");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (pid, parent) = (std::process::id(), parent_id());
    enter(&Needs { process_figures: true, ..Needs::default() });

    let figures = thread::spawn(move || {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        listener.accept().unwrap().0.write_all(statm.as_bytes()).unwrap();
    });
    let mut statm = String::new();
    peer.read_to_string(&mut statm).unwrap();
    figures.join().unwrap();
    assert_eq!(statm.split_whitespace().count(), 7, "{statm:?}");
    for file in ["stat", "status"] {
        assert!(!fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap().is_empty());
    }
    assert!(fs::read_dir("/proc/self/fd").unwrap().count() > 3);
    assert!(fs::metadata("/proc/self/fd").is_ok());
    let (soft, hard) = rlimit::Resource::NOFILE.get().unwrap();

    assert!(is_refused(rlimit::Resource::NOFILE.set(soft, hard)));
    assert!(is_refused(fs::read("/proc/meminfo")));
    assert!(is_refused(fs::read(format!("/proc/{parent}/stat"))));
    assert!(is_refused(File::options().write(true).open("/proc/self/comm")));
    assert!(is_refused(fs::remove_file("/nonexistent")));
    assert!(is_refused(TcpListener::bind("127.0.0.1:0")));
    assert!(is_refused(Command::new("true").status()));
}

#[test]
fn a_panic_and_an_abort_behave_as_outside_and_print_their_reason() {
    if !is_inside() {
        let ended = run_inside("a_panic_and_an_abort_behave_as_outside_and_print_their_reason");
        assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{:?}", ended.status);
        let output = String::from_utf8_lossy(&ended.stderr);
        assert!(output.contains("so it ends"), "{output}");
        return;
    }
    enter(&Needs::default());
    let panicked = thread::spawn(|| panic!("so it ends"));
    assert!(panicked.join().is_err());
    std::process::abort();
}
