//! System calls that fail in the sandbox. Another process makes the server's threads execute them
//! by ptrace(2).
//!
//! Each call is also made without the sandbox, where it does not fail in this way, so the results
//! come from the sandbox. Calls that succeed there are harmless.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::c_long;
use serde_json::{Value, json};

use super::{sandbox_log, sandboxed, threads};
use crate::support::{
    Daemon, Process, abstract_name, echo, python, resound, serve_flags, wait_until,
};

/// The exit code of the script if the system forbids tracing.
const NOT_PERMITTED: i32 = 77;
/// The exit code if the thread has ended.
const GONE: i32 = 78;

const EPERM: i64 = -1;
const EINTR: i64 = -4;
pub const EACCES: i64 = -13;
const ENOSYS: i64 = -38;

/// A description, the call with its arguments, and the expected result in the sandbox.
type Asked = (&'static str, Value, i64);

/// Makes a thread of a server execute these calls, and returns their results, or no results if the
/// thread has ended. Returns `None` if tracing is impossible.
pub fn make_calls(daemon: &Daemon, thread: &str, calls: &Value) -> Option<Vec<i64>> {
    if !cfg!(target_arch = "x86_64") {
        crate::support::skip("the script supports only x86_64");
        return None;
    }
    let mut command = python("make_calls.py");
    command.args([&daemon.process.pid().as_raw_nonzero().to_string(), thread]);
    let ended = Process::start_with_input(command, calls.to_string().as_bytes()).wait();
    if ended.code() == NOT_PERMITTED {
        crate::support::skip("tracing is forbidden on this system");
        return None;
    }
    if ended.code() == GONE {
        return Some(Vec::new());
    }
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    Some(serde_json::from_slice(&ended.stdout).unwrap())
}

fn calls_of(asked: &[Asked]) -> Value {
    asked.iter().map(|(_, call, _)| call.clone()).collect()
}

fn main_thread(daemon: &Daemon) -> String {
    daemon.process.pid().as_raw_nonzero().to_string()
}

/// Returns a TCP address on this host in the form that bind and connect take.
fn tcp_addr(port: u16) -> String {
    let [high, low] = port.to_be_bytes();
    let bytes = [2, 0, high, low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn text(path: &Path) -> String {
    path.as_os_str().as_bytes().iter().map(|byte| char::from(*byte)).collect()
}

/// Calls on files. `ours` is the folder of the socket file, `other` is another folder.
fn files(ours: &Path, other: &Path) -> Vec<Asked> {
    let (cwd, create) = (libc::AT_FDCWD, libc::O_WRONLY | libc::O_CREAT);
    let open = |path: &str, flags: i32| json!([libc::SYS_openat, cwd, path, flags, 0o600]);
    std::fs::write(other.join("file"), "").unwrap();
    let remove = json!([libc::SYS_unlinkat, cwd, text(&other.join("file")), 0]);
    vec![
        ("read a file", open("/etc/passwd", libc::O_RDONLY), EACCES),
        ("read a folder", open("/", libc::O_RDONLY), EACCES),
        ("read what /proc tells", open("/proc/self/status", libc::O_RDONLY), EACCES),
        ("write to /dev/null", open("/dev/null", libc::O_WRONLY), EPERM),
        ("read and write", open("/etc/passwd", libc::O_RDWR), EPERM),
        ("make a file in the folder of the socket", open(&text(&ours.join("new")), create), EPERM),
        ("remove a file elsewhere", remove, EACCES),
        ("chmod", json!([libc::SYS_fchmodat, cwd, "/nonexistent", 0o777]), EPERM),
        ("mkdir", json!([libc::SYS_mkdirat, cwd, "/nonexistent/folder", 0o700]), EPERM),
        ("rename", json!([libc::SYS_renameat2, cwd, "/nonexistent", cwd, "/x", 0]), EPERM),
        ("link", json!([libc::SYS_linkat, cwd, "/nonexistent", cwd, "/x", 0]), EPERM),
        ("chroot", json!([libc::SYS_chroot, "/nonexistent"]), EPERM),
        ("mount", json!([libc::SYS_mount, "x", "/nonexistent", "tmpfs", 0, 0]), EPERM),
    ]
}

fn sockets() -> Vec<Asked> {
    let socket = |family: i32, kind: i32| json!([libc::SYS_socket, family, kind, 0]);
    let any = tcp_addr(0);
    vec![
        ("a TCP socket", socket(libc::AF_INET, libc::SOCK_STREAM), EPERM),
        ("a UDP socket", socket(libc::AF_INET6, libc::SOCK_DGRAM), EPERM),
        ("a Unix socket", socket(libc::AF_UNIX, libc::SOCK_DGRAM), EPERM),
        ("a socket to the kernel", socket(libc::AF_NETLINK, libc::SOCK_RAW), EPERM),
        ("bind", json!([libc::SYS_bind, -1, any, 16]), EPERM),
        ("connect", json!([libc::SYS_connect, -1, any, 16]), EPERM),
        ("listen", json!([libc::SYS_listen, -1, 1]), EPERM),
        ("set an option", json!([libc::SYS_setsockopt, -1, 1, 2, 0, 0]), EPERM),
        ("another ioctl", json!([libc::SYS_ioctl, -1, libc::FIONREAD, 0]), EPERM),
        ("another fcntl", json!([libc::SYS_fcntl, 0, libc::F_GETFL, 0]), EPERM),
    ]
}

/// Returns the descriptor of a server's TCP listener, found by the inode of its port in
/// /proc/net/tcp.
fn listener_of(daemon: &Daemon) -> i32 {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", daemon.addr(0).port());
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        (words[1].ends_with(&port) && words[3] == "0A").then(|| words[9].to_owned())
    };
    let inode = table.lines().skip(1).find_map(row).expect("it listens");
    let socket = format!("socket:[{inode}]");
    let folder = format!("/proc/{}/fd", daemon.process.pid().as_raw_nonzero());
    let mut links = std::fs::read_dir(folder).unwrap().map(|link| link.unwrap());
    let link = links.find(|link| {
        std::fs::read_link(link.path()).is_ok_and(|target| target.as_os_str() == socket.as_str())
    });
    link.expect("its descriptor").file_name().to_str().unwrap().parse().unwrap()
}

/// A listener that is shut down for reading becomes an unconnected socket. sendto(2) with
/// MSG_FASTOPEN would connect it, which landlock does not see.
#[test]
fn a_listener_stays_a_listener_and_cannot_connect() {
    stays_a_listener(&["tcp://127.0.0.1:0"], -i64::from(libc::EISCONN));
}

/// A socket of Multipath TCP would connect after the end of its connection. No send may ask for it.
#[test]
fn with_multipath_tcp_no_send_connects() {
    if crate::support::has_multipath_tcp() {
        stays_a_listener(&["--mptcp", "tcp://127.0.0.1:0"], EPERM);
    }
}

/// Checks what a send with MSG_FASTOPEN returns.
#[track_caller]
fn stays_a_listener(arguments: &[&str], refusal: i64) {
    let daemon = sandboxed(arguments);
    sandbox_log(&daemon);
    let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    target.set_nonblocking(true).unwrap();
    let addr = tcp_addr(target.local_addr().unwrap().port());
    let listener = listener_of(&daemon);
    let connect = json!([libc::SYS_sendto, listener, "hi", 2, libc::MSG_FASTOPEN, addr, 16]);
    let calls = json!([
        [libc::SYS_shutdown, listener, libc::SHUT_RD],
        [libc::SYS_shutdown, listener, libc::SHUT_RDWR],
        connect,
        [libc::SYS_shutdown, listener, libc::SHUT_WR],
        connect,
    ]);
    let Some(results) = make_calls(&daemon, &main_thread(&daemon), &calls) else { return };
    assert_eq!(results, [EPERM, EPERM, refusal, 0, refusal]);
    assert_eq!(target.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    echo(&mut super::tcp(&daemon));
    assert_eq!(daemon.stop().code(), 0);
}

/// Calls on processes and memory. The flags of clone are invalid in every kernel, so the call
/// creates nothing.
fn processes(own_pid: i32) -> Vec<Asked> {
    let exec = libc::PROT_READ | libc::PROT_EXEC;
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let fork = libc::CLONE_SIGHAND | libc::SIGCHLD;
    let namespace = libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM | libc::CLONE_NEWPID;
    vec![
        ("execve", json!([libc::SYS_execve, "/nonexistent", 0, 0]), EPERM),
        ("a process by clone", json!([libc::SYS_clone, fork, 0, 0, 0, 0]), EPERM),
        ("a namespace by clone", json!([libc::SYS_clone, namespace, 0, 0, 0, 0]), EPERM),
        ("clone3", json!([libc::SYS_clone3, 0, 0]), ENOSYS),
        ("unshare", json!([libc::SYS_unshare, 0]), EPERM),
        ("setns", json!([libc::SYS_setns, -1, 0]), EPERM),
        ("ptrace", json!([libc::SYS_ptrace, 9_999, 0, 0, 0]), EPERM),
        ("another's memory", json!([libc::SYS_process_vm_readv, -1, 0, 0, 0, 0, 0]), EPERM),
        ("kill", json!([libc::SYS_kill, own_pid, 0]), EPERM),
        ("another's thread", json!([libc::SYS_tgkill, own_pid + 1, -1, 0]), EPERM),
        ("another prctl", json!([libc::SYS_prctl, libc::PR_GET_DUMPABLE]), EPERM),
        ("personality", json!([libc::SYS_personality, -1]), EPERM),
        ("setuid", json!([libc::SYS_setresuid, -1, -1, -1]), EPERM),
        ("bpf", json!([libc::SYS_bpf, 9_999, 0, 0]), EPERM),
        ("io_uring", json!([libc::SYS_io_uring_setup, 0, 0]), EPERM),
        ("an anonymous file", json!([libc::SYS_memfd_create, "x", 0]), EPERM),
        ("memory to run", json!([libc::SYS_mmap, 0, 4096, exec, anonymous, -1, 0]), EPERM),
        ("memory made to run", json!([libc::SYS_mprotect, 0, 0, exec]), EPERM),
    ]
}

/// Calls that a kernel may refuse in the same way without the sandbox, by its settings or without
/// root rights.
const MAYBE_REFUSED: &[&str] = &["bpf", "io_uring", "chroot", "mount", "a socket to the kernel"];

#[track_caller]
fn assert_refused(asked: &[Asked], results: &[i64]) {
    assert_eq!(asked.len(), results.len());
    for ((what, _, expected), result) in asked.iter().zip(results) {
        assert_eq!(result, expected, "{what}");
    }
}

fn new_threads(daemon: &Daemon, known: &BTreeSet<String>) -> Vec<String> {
    let new = threads(daemon.process.pid()).into_iter().filter(|thread| !known.contains(thread));
    new.collect()
}

#[test]
fn calls_that_serving_does_not_need_are_refused() {
    let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = ours.path().join("s").display().to_string();
    // The log's thread starts first, because there is always a line to write.
    let arguments = ["tcp://127.0.0.1:0", &format!("unix:{path}"), "--threads=2", "--stats=5ms"];
    let daemon = sandboxed(&arguments);
    let pid = daemon.process.pid().as_raw_nonzero().get();
    let mut asked = files(ours.path(), other.path());
    asked.extend(sockets());
    asked.extend(processes(pid));
    // The test covers every thread, because landlock applies per thread.
    let mut threads_asked = BTreeSet::new();
    while threads_asked.len() < 3 {
        wait_until("a thread more", || !new_threads(&daemon, &threads_asked).is_empty());
        for thread in new_threads(&daemon, &threads_asked) {
            let Some(results) = make_calls(&daemon, &thread, &calls_of(&asked)) else { return };
            if !results.is_empty() {
                assert_refused(&asked, &results);
                threads_asked.insert(thread);
            }
        }
    }
    echo(&mut super::tcp(&daemon));
    assert_eq!(daemon.stop().code(), 0);

    if !serve_flags().is_empty() {
        return;
    }
    let daemon = Daemon::start(&arguments);
    let results = make_calls(&daemon, &main_thread(&daemon), &calls_of(&asked)).expect("as before");
    for ((what, _, refusal), result) in asked.iter().zip(results) {
        let is_telling = !MAYBE_REFUSED.contains(what);
        assert!(result != *refusal || !is_telling, "without the sandbox too: {what}");
    }
}

#[test]
fn calls_that_serving_needs_are_allowed() {
    let daemon = sandboxed(&["tcp://127.0.0.1:0"]);
    sandbox_log(&daemon);
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let read_write = libc::PROT_READ | libc::PROT_WRITE;
    let calls = json!([
        [libc::SYS_openat, libc::AT_FDCWD, "/dev/null", libc::O_RDONLY | libc::O_CLOEXEC],
        [libc::SYS_close, { "result": 0 }],
        [libc::SYS_mmap, 0, 4096, read_write, anonymous, -1, 0],
        [libc::SYS_mprotect, { "result": 2 }, 4096, libc::PROT_NONE],
        [libc::SYS_munmap, { "result": 2 }, 4096],
        [libc::SYS_getrandom, "12345678", 8, 0],
        [libc::SYS_sched_yield],
        // It fails with EINTR, because there is no interrupted call to restart.
        [libc::SYS_restart_syscall],
    ]);
    let Some(mut results) = make_calls(&daemon, &main_thread(&daemon), &calls) else { return };
    assert_eq!(results.pop(), Some(EINTR));
    assert!(results.iter().all(|result| *result >= 0), "{results:?}");
}

/// Starts `resound serve --sandbox` where the kernel lacks these calls.
fn on_an_older_kernel(missing: &[c_long], endpoints: &[&str]) -> Daemon {
    let mut command = python("without_calls.py");
    let missing: Vec<_> = missing.iter().map(c_long::to_string).collect();
    command.arg(missing.join(",")).arg(resound().get_program());
    command.arg("serve").args(endpoints).env_remove("RUST_LOG");
    if serve_flags().is_empty() {
        command.arg("--sandbox");
    }
    Daemon::start_command(command)
}

#[test]
fn without_landlock_calls_are_still_restricted_with_a_warning() {
    let daemon = on_an_older_kernel(&[libc::SYS_landlock_create_ruleset], &["tcp://127.0.0.1:0"]);
    let log = sandbox_log(&daemon);
    assert!(log.contains("WARN sandbox: no landlock: this kernel does not have it"), "{log}");
    assert!(log.contains("INFO sandbox: no new privileges, seccomp ("), "{log}");
    // Without landlock no rule limits which files, so seccomp forbids opening any.
    let calls = json!([[libc::SYS_openat, libc::AT_FDCWD, "/dev/null", libc::O_RDONLY]]);
    if let Some(results) = make_calls(&daemon, &main_thread(&daemon), &calls) {
        assert_eq!(results, [EPERM]);
    }
    // Without /dev/null, the spare descriptor is of another kind.
    super::sheds_again_and_again(daemon);
}

/// Tests the calls that landlock forbids. With seccomp, seccomp forbids them first.
#[test]
fn without_seccomp_files_and_tcp_are_still_restricted_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("unix:{}", folder.path().join("s").display());
    let daemon = on_an_older_kernel(&[libc::SYS_seccomp], &["tcp://127.0.0.1:0", &endpoint]);
    let log = sandbox_log(&daemon);
    assert!(log.contains("WARN sandbox: no seccomp: ") && log.contains("MSG_FASTOPEN"), "{log}");
    let open = |path: &str, flags| json!([libc::SYS_openat, libc::AT_FDCWD, path, flags, 0o600]);
    let addr = tcp_addr(daemon.addr(0).port());
    let create = libc::O_WRONLY | libc::O_CREAT;
    let asked: Vec<Asked> = vec![
        ("write to /dev/null", open("/dev/null", libc::O_WRONLY), EACCES),
        ("make a file", open(&text(&folder.path().join("new")), create), EACCES),
        ("execve", json!([libc::SYS_execve, "/bin/sh", 0, 0]), EACCES),
        ("a signal to init", json!([libc::SYS_kill, 1, 0]), EPERM),
        ("bind", json!([libc::SYS_bind, { "result": 0 }, tcp_addr(0), 16]), EACCES),
        ("connect", json!([libc::SYS_connect, { "result": 0 }, addr, 16]), EACCES),
    ];
    let mut calls = vec![json!([libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0])];
    calls.extend(asked.iter().map(|(_, call, _)| call.clone()));
    if let Some(results) = make_calls(&daemon, &main_thread(&daemon), &calls.into()) {
        assert!(results[0] > 0, "a socket can be made");
        assert_refused(&asked, &results[1..]);
    }
    assert_eq!(daemon.stop().code(), 0);
}

#[test]
fn without_landlock_and_seccomp_it_serves_with_a_warning() {
    let missing = [libc::SYS_landlock_create_ruleset, libc::SYS_seccomp];
    let daemon = on_an_older_kernel(&missing, &["tcp://127.0.0.1:0"]);
    let log = sandbox_log(&daemon);
    assert_eq!(log.matches("WARN sandbox: no ").count(), 2, "{log}");
    assert!(log.contains("INFO sandbox: no new privileges\n"), "{log}");
    echo(&mut super::tcp(&daemon));
    assert_eq!(daemon.stop().code(), 0);
}

/// The server notifies a service manager by datagrams from a Unix socket that it makes for this.
#[test]
fn with_a_service_manager_only_sockets_for_notifications_can_be_made() {
    let mut command = resound();
    command.args(["serve", "tcp://127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", abstract_name("manager"));
    if serve_flags().is_empty() {
        command.arg("--sandbox");
    }
    let daemon = Daemon::start_command(command);
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    let calls = json!([
        [libc::SYS_socket, libc::AF_UNIX, kind, 0],
        [libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0],
        [libc::SYS_socket, libc::AF_INET, kind, 0],
        [libc::SYS_ioctl, { "result": 0 }, libc::FIONBIO, "\0\0\0\0"],
    ]);
    let Some(results) = make_calls(&daemon, &main_thread(&daemon), &calls) else { return };
    assert!(results[0] > 0 && results[1..] == [EPERM, EPERM, 0], "{results:?}");
}
