//! `resound serve` under a service manager: the sockets that it passes, and the notifications that
//! it gets.

mod notify;
mod restarts;
mod sockets;
mod together;

use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::support::{Guarded, WAIT_MAX, python, resound, serve_flags};

/// Returns a command: a manager that passes these sockets to `resound serve` (see
/// `tests/python/manager.py`).
pub fn passed(sockets: &[&str], arguments: &[&str]) -> Command {
    let mut command = python("manager.py");
    command.args(sockets).arg("--").arg(resound().get_program()).arg("serve").args(arguments);
    command.args(serve_flags()).env_remove("RUST_LOG");
    command
}

/// Returns what a server that cannot start logs to a socket, which `JOURNAL_STREAM` names as the
/// journal or not. It warns of an invalid `RUST_LOG` before it fails.
fn log_to_socket(is_journal: bool) -> String {
    let (mut near, far) = UnixStream::pair().unwrap();
    near.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let far = std::fs::File::from(OwnedFd::from(far));
    let metadata = far.metadata().unwrap();
    let inode = metadata.ino() + u64::from(!is_journal);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = resound();
    command.args(["serve", &format!("tcp://{}", taken.local_addr().unwrap())]);
    command
        .env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev()))
        .env("RUST_LOG", "resound=frobnicate");
    command.stderr(far);
    assert_eq!(Guarded::spawn(command).wait().code(), Some(1));
    let mut log = String::new();
    near.read_to_string(&mut log).unwrap();
    log
}

#[test]
fn log_lines_begin_with_the_time_except_in_the_journal() {
    let log = log_to_socket(true);
    assert!(log.trim_start().starts_with("WARN RUST_LOG is ignored"), "{log}");
    let log = log_to_socket(false);
    let (time, rest) = log.split_once(' ').unwrap();
    assert!(
        time.ends_with('Z') && rest.trim_start().starts_with("WARN RUST_LOG is ignored"),
        "{log}"
    );
}
