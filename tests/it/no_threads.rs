//! The system grants no more threads: errors name the limit, and a daemon still writes its log.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::support::{Daemon, Ended, Process, resound, tool, wait_until};

/// A copy of the program that a user without other processes can run.
struct Lonely {
    folder: TempDir,
    prlimit: PathBuf,
}

impl Lonely {
    /// Returns `None` and records a skip if tools or rights are missing.
    fn new() -> Option<Lonely> {
        let prlimit = tool("prlimit")?;
        if !geteuid().is_root() {
            crate::support::skip(
                "only root may start a program as a user that has no other process",
            );
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::copy(resound().get_program(), folder.path().join("resound")).unwrap();
        Some(Lonely { folder, prlimit })
    }

    /// Returns a command that runs the program as a user that may have one thread, the main thread.
    fn command(&self, arguments: &[&str]) -> Command {
        // The limit counts per user, so each command gets its own user.
        static USERS: AtomicU32 = AtomicU32::new(0);
        let user = 1 << 20 | std::process::id() << 6 | USERS.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new(&self.prlimit);
        command.arg("--nproc=1").arg(self.folder.path().join("resound")).args(arguments);
        command.uid(user).gid(user).current_dir("/").env_remove("RUST_LOG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Process::start(self.command(arguments)).wait()
    }
}

#[test]
fn a_refused_thread_is_reported_with_the_limits_that_apply() {
    let Some(lonely) = Lonely::new() else { return };
    for arguments in [
        &["bench", "-n", "10", "--warmup", "0"][..],
        &["bench", "-n", "10", "--interval", "1s", "tcp://127.0.0.1:1"],
        &["serve", "tcp://127.0.0.1:0", "--threads", "2"],
        &["serve", "tcp://127.0.0.1:0", "--metrics", "127.0.0.1:0"],
    ] {
        let ended = lonely.run(arguments);
        assert_eq!(ended.code(), 1, "{arguments:?}: {}", ended.stderr);
        let stderr = &ended.stderr;
        let line = stderr.lines().find(|line| line.contains("no more threads")).expect(stderr);
        assert!(line.contains("ulimit -u, TasksMax= or pids.max"), "{arguments:?}: {line}");
        assert!(!stderr.contains("timed out"), "{arguments:?}: {stderr}");
    }
}

/// `ping` looks up names and connects on its only thread.
#[test]
fn ping_does_without_a_thread() {
    let Some(lonely) = Lonely::new() else { return };
    let server = Daemon::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    for endpoint in &server.endpoints {
        for endpoint in [endpoint.clone(), endpoint.replace("127.0.0.1", "localhost")] {
            let ended = lonely.run(&["ping", "-c", "3", "-i", "0", &endpoint]);
            let text = ended.stdout_text();
            assert_eq!(ended.code(), 0, "{endpoint}: {text}{}", ended.stderr);
            assert!(text.contains("3 received"), "{endpoint}: {text}");
        }
    }
    let unserved = crate::support::UnservedPorts::new();
    let ended = lonely.run(&["ping", "-c", "2", "-i", "0", &format!("tcp://{}", unserved.tcp)]);
    let text = ended.stdout_text();
    assert_eq!(ended.code(), 1, "{text}{}", ended.stderr);
    assert_eq!(text.matches("seq=").count(), 2, "{text}");
    assert!(text.contains("lost: 2 refused\n"), "{text}");
    assert!(!text.contains("threads") && !text.contains("timed out"), "{text}");
}

/// case P4: the log is complete, and the loop writes no more than the pipe has room for.
#[test]
fn a_daemon_without_the_thread_of_its_log_writes_the_log_itself() {
    let Some(lonely) = Lonely::new() else { return };
    let arguments = ["serve", "--print", "tcp://127.0.0.1:0", "--drain-timeout", "10m"];
    let daemon = Daemon::start_command(lonely.command(&arguments));
    let mut peer = std::net::TcpStream::connect(daemon.addr(0)).unwrap();
    crate::support::echo(&mut peer);
    wait_until("the message", || daemon.process.stdout_text().ends_with(" ping\n"));
    assert_eq!(daemon.counters().get("tcp_messages_in"), 1);
    daemon.process.signal(Signal::TERM);
    wait_until("the drain", || daemon.process.stderr_text().contains("draining"));
    drop(peer);
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("INFO at most "), "{}", ended.stderr);
    assert!(ended.stderr.lines().last().unwrap().starts_with("stats "), "{}", ended.stderr);
}
