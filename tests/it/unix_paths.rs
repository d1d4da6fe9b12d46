//! Paths of Unix sockets that another user or another program changes.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::support::{Counters, Daemon, Process, WAIT_MAX, resound, run, skip, tool, wait_until};

/// Returns the mode of a file, following links.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Returns a command for the server under strace(1), which delays it by one second after bind(2)
/// and before every call that sets a mode.
fn with_late_chmod(strace: &Path, trace: &Path, endpoint: &str) -> Command {
    let mut command = Command::new(strace);
    command.args(["-f", "-qq", "-o"]).arg(trace);
    command.args(["-e", "trace=bind,?chmod,fchmod,?fchmodat,?fchmodat2"]);
    command.args(["-e", "inject=bind:delay_exit=1000000"]);
    command.args(["-e", "inject=?chmod,fchmod,?fchmodat,?fchmodat2:delay_enter=1000000"]);
    command.arg("sh").args(["-c", "umask 027 && exec \"$0\" serve --unix-mode 0666 \"$1\""]);
    command.arg(resound().get_program()).arg(endpoint);
    command
}

/// case X12: bind(2) creates the file with its final mode, so a link that replaces it affects no
/// other file.
#[test]
fn the_mode_of_a_socket_file_is_set_on_no_other_file() {
    let Some(strace) = tool("strace") else { return };
    for scheme in ["unix", "unixgram"] {
        let folder = tempfile::tempdir().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("echo"));
        fs::write(&victim, "secret").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        let trace = folder.path().join("trace");
        let endpoint = format!("{scheme}:{}", path.display());
        let mut daemon = Process::start(with_late_chmod(&strace, &trace, &endpoint));
        wait_until("the socket file", || path.exists());
        assert_eq!(mode(&path), 0o666, "{scheme}: from its creation, whatever the umask");
        let away = folder.path().join("away");
        fs::rename(&path, &away).unwrap();
        symlink(&victim, &path).unwrap();
        daemon.wait_for_line("listening ");
        // By now a late call would have set the mode.
        let calls = fs::read_to_string(&trace).unwrap();
        let after_bind = calls.split("bind(").nth(1).expect("it was bound");
        assert!(!after_bind.contains("chmod"), "{calls}");
        assert_eq!((mode(&victim), mode(&away)), (0o600, 0o666), "{scheme}");
        stop_traced(&daemon);
        assert_eq!(daemon.wait().code(), 0);
        assert!(path.is_symlink(), "{scheme}: a link that is not ours stays");
    }
}

/// Stops the program under strace(1), because strace itself ignores the signal.
fn stop_traced(strace: &Process) {
    let pid = strace.pid().as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
        let child = rustix::process::Pid::from_raw(child).unwrap();
        let _ = rustix::process::kill_process(child, Signal::TERM);
    }
}

/// Opening a FIFO without a writer would block.
#[test]
fn a_fifo_instead_of_a_folder_is_an_immediate_error_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
    for scheme in ["unix", "unixgram"] {
        let endpoint = format!("{scheme}:{}", fifo.join("s").display());
        let commands: [&[&str]; 4] = [
            &["serve", &endpoint],
            &["send", &endpoint, "hello"],
            &["bench", "-n", "1", &endpoint],
            &["ping", "-c", "1", "-W", "200ms", &endpoint],
        ];
        for arguments in commands {
            let mut command = resound();
            command.args(arguments);
            let ended = run(command);
            assert_eq!(ended.code(), 1, "{arguments:?}: {}", ended.stderr);
            let text = format!("{}{}", ended.stdout_text(), ended.stderr);
            assert!(text.contains("not a"), "{arguments:?}: {text}");
        }
    }
}

/// A way to make the path of one socket lead to the file of another.
type Swap = fn(&Path, &Path);

/// The last one moves the file itself to the path.
const SWAPS: [(&str, Swap); 3] = [
    ("symlink", |target, path| symlink(target, path).unwrap()),
    ("hard link", |target, path| fs::hard_link(target, path).unwrap()),
    ("rename", |target, path| fs::rename(target, path).unwrap()),
];

/// Servers and clients in one folder.
struct Scene(TempDir);

impl Scene {
    fn new() -> Scene {
        Scene(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn serve(&self, name: &str, flags: &[&str]) -> Daemon {
        let endpoint = format!("unixgram:{}", self.path(name).display());
        Daemon::start(&[&[endpoint.as_str()][..], flags].concat())
    }

    fn client(&self, name: &str) -> UnixDatagram {
        let client = UnixDatagram::bind(self.path(name)).unwrap();
        client.set_read_timeout(Some(WAIT_MAX)).unwrap();
        client
    }

    /// Sends a datagram from a client to a stopped server. Before the server continues, makes the
    /// client's path lead to the socket file `target`.
    fn ask_and_swap(&self, server: &Daemon, swap: Swap, target: &str) -> UnixDatagram {
        let client = self.client("client");
        server.process.signal(Signal::STOP);
        client.send_to(b"hello", self.path("server")).unwrap();
        fs::remove_file(self.path("client")).unwrap();
        swap(&self.path(target), &self.path("client"));
        server.process.signal(Signal::CONT);
        client
    }
}

/// Waits until the server has received this many datagrams, and returns its counters.
fn seen(server: &Daemon, datagrams: u64) -> Counters {
    wait_until("the datagrams", || server.counters().get("unixgram_messages_in") >= datagrams);
    server.counters()
}

fn is_quiet(socket: &UnixDatagram) -> bool {
    socket.set_nonblocking(true).unwrap();
    let received = socket.recv(&mut [0; 64]);
    socket.set_nonblocking(false).unwrap();
    received.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// case X10
#[test]
fn a_sender_whose_path_leads_to_the_server_is_counted_and_never_answered() {
    for sandbox in [&[][..], &["--sandbox"]] {
        for (name, swap) in SWAPS {
            let scene = Scene::new();
            let server = scene.serve("server", &[sandbox, &["--drain-timeout", "10m"]].concat());
            let client = scene.ask_and_swap(&server, swap, "server");
            let counters = seen(&server, 1);
            let counts = ["loop_own_path", "unixgram_messages_in", "unixgram_messages_out"];
            assert_eq!(counts.map(|count| counters.get(count)), [1, 1, 0], "{name}");
            assert!(is_quiet(&client));
            // The drain may take ten minutes, but does not wait for this answer.
            let ended = server.stop();
            assert_eq!((ended.code(), Counters::last_of(&ended.stderr).get("held")), (0, 0));
        }
    }
}

/// case X10: held answers for a client are neither sent nor waited for once its path leads to the
/// server.
#[test]
fn answers_that_are_held_for_a_path_which_then_leads_to_the_server_are_dropped() {
    for (name, swap) in SWAPS {
        let scene = Scene::new();
        let server = scene.serve("server", &["--drain-timeout", "10m"]);
        let client = scene.client("client");
        for _ in 0..30 {
            client.send_to(b"hello", scene.path("server")).unwrap();
        }
        wait_until("an answer that waits", || server.counters().get("held") > 0);
        fs::remove_file(scene.path("client")).unwrap();
        swap(&scene.path("server"), &scene.path("client"));
        let ended = server.stop();
        assert_eq!(ended.code(), 0, "{name}");
        let counters = Counters::last_of(&ended.stderr);
        assert_eq!(counters.get("unixgram_messages_in"), 30, "{name}");
        assert!(counters.get("loop_own_path") > 0, "{name}: {}", ended.stderr);
    }
}

/// case X10
#[test]
fn a_path_cannot_make_two_servers_answer_each_other() {
    for sandbox in [&[][..], &["--sandbox"]] {
        for (name, swap) in SWAPS {
            let scene = Scene::new();
            let (first, second) = (scene.serve("server", sandbox), scene.serve("second", sandbox));
            let _client = scene.ask_and_swap(&first, swap, "second");
            let counters = seen(&first, 1);
            assert_eq!(counters.get("loop_path"), 1, "{name}");
            assert_eq!(second.counters().get("unixgram_messages_in"), 0, "{name}");
        }
    }
}

/// case X10: the server checks a known path again.
#[test]
fn a_client_that_was_answered_before_cannot_redirect_its_answers() {
    for (name, swap) in SWAPS {
        let scene = Scene::new();
        let (first, second) = (scene.serve("server", &[]), scene.serve("second", &[]));
        let client = scene.client("client");
        client.send_to(b"known", scene.path("server")).unwrap();
        assert_eq!(client.recv(&mut [0; 64]).unwrap(), 5);
        first.process.signal(Signal::STOP);
        client.send_to(b"hello", scene.path("server")).unwrap();
        fs::remove_file(scene.path("client")).unwrap();
        swap(&scene.path("second"), &scene.path("client"));
        first.process.signal(Signal::CONT);
        // Either the client's socket gets the answer, or no socket does.
        let counters = seen(&first, 2);
        let stray = counters.get("loop_path");
        assert_eq!(counters.get("unixgram_messages_out") + stray, 2, "{name}");
        assert_eq!(is_quiet(&client), stray == 1, "{name}");
        assert_eq!(second.counters().get("unixgram_messages_in"), 0, "{name}");
    }
}

/// case X11
#[test]
fn nothing_is_delivered_to_a_socket_that_did_not_ask() {
    for (name, swap) in SWAPS {
        let scene = Scene::new();
        let server = scene.serve("server", &[]);
        let control = scene.client("control");
        let _client = scene.ask_and_swap(&server, swap, "control");
        assert_eq!(seen(&server, 1).get("loop_path"), 1, "{name}");
        assert!(is_quiet(&control), "{name}");
    }
}

/// case X11: the limit for connected clients in docs/limits.md. The kernel gives a server no
/// information about a connected socket, and such a socket receives datagrams only from its peer.
#[test]
fn answers_can_be_redirected_only_to_another_connected_client_of_the_same_server() {
    for (name, swap) in SWAPS {
        let scene = Scene::new();
        let (server, second) = (scene.serve("server", &[]), scene.serve("second", &[]));
        let other = scene.client("other");
        for (peer, arrives, cause) in
            [("server", true, "unixgram_messages_out"), ("second", false, "answer_forbidden")]
        {
            if !scene.path("other").exists() {
                // The swap has moved the file.
                fs::rename(scene.path("client"), scene.path("other")).unwrap();
            }
            let _ = fs::remove_file(scene.path("client"));
            other.connect(scene.path(peer)).unwrap();
            let before = server.counters();
            let client = scene.ask_and_swap(&server, swap, "other");
            let after = seen(&server, before.get("unixgram_messages_in") + 1);
            assert_eq!(after.get(cause), before.get(cause) + 1, "{name} {peer}");
            assert_eq!(is_quiet(&other), !arrives, "{name} {peer}");
            assert!(is_quiet(&client), "{name} {peer}");
        }
        assert_eq!(second.counters().get("unixgram_messages_in"), 0, "{name}");
    }
}

/// case X10
#[test]
fn with_allow_loops_answers_go_wherever_a_path_leads() {
    let scene = Scene::new();
    let server = scene.serve("server", &["--allow-loops"]);
    assert!(!server.process.stderr_text().contains("without effect"));
    let control = scene.client("control");
    let _client =
        scene.ask_and_swap(&server, |target, path| symlink(target, path).unwrap(), "control");
    let mut buf = [0; 64];
    assert_eq!(control.recv(&mut buf).unwrap(), 5);
}

/// case X4: a new socket at an old path is a different peer.
#[test]
fn a_client_that_comes_again_at_the_same_path_is_answered_at_once() {
    let scene = Scene::new();
    let server = scene.serve("server", &[]);
    for round in 0..50_u8 {
        let client = scene.client("client");
        for number in 0..3 {
            client.send_to(&[round, number], scene.path("server")).unwrap();
        }
        for number in 0..3 {
            let mut buf = [0; 64];
            assert_eq!(client.recv(&mut buf).unwrap(), 2);
            assert_eq!(buf[..2], [round, number]);
        }
        fs::remove_file(scene.path("client")).unwrap();
    }
    assert_eq!(server.counters().get("answer_refused"), 0);
}

/// case X4: the old socket is still open, as when a child process has inherited it.
#[test]
fn a_client_that_takes_over_a_path_is_answered_eventually() {
    let scene = Scene::new();
    let _server = scene.serve("server", &[]);
    let mut before = Vec::new();
    for _ in 0..3 {
        let client = scene.client("client");
        client.set_nonblocking(true).unwrap();
        wait_until("an answer", || {
            client.send_to(b"hello", scene.path("server")).unwrap();
            thread::sleep(Duration::from_millis(1));
            client.recv(&mut [0; 64]).is_ok()
        });
        fs::remove_file(scene.path("client")).unwrap();
        before.push(client);
    }
}

#[test]
fn more_clients_than_cached_sockets_are_all_answered() {
    const CLIENTS: usize = 150;
    let scene = Scene::new();
    let server = scene.serve("server", &[]);
    let clients: Vec<_> = (0..CLIENTS).map(|number| scene.client(&number.to_string())).collect();
    for round in 0..3_u8 {
        for client in &clients {
            client.send_to(&[round], scene.path("server")).unwrap();
        }
        for client in &clients {
            let mut buf = [0; 64];
            assert_eq!(client.recv(&mut buf).unwrap(), 1);
            assert_eq!(buf[0], round);
        }
    }
    let pid = server.process.pid().as_raw_nonzero();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!((64..100).contains(&open), "{open} descriptors");
}

/// case X11
#[test]
fn root_is_warned_of_a_socket_that_other_users_may_write_to() {
    if !geteuid().is_root() {
        return skip("only root is warned");
    }
    let scene = Scene::new();
    for (mode, is_warned) in [("0600", false), ("0666", true), ("0622", true), ("0755", false)] {
        let ended = scene.serve("server", &["--unix-mode", mode]).stop();
        let is_said = ended.stderr.lines().any(|l| l.contains("WARN") && l.contains("root"));
        assert_eq!(is_said, is_warned, "{mode}: {}", ended.stderr);
    }
}

/// case X11: an abstract name has no permissions.
#[cfg(target_os = "linux")]
#[test]
fn root_is_warned_of_an_abstract_name_that_it_answers() {
    if !geteuid().is_root() {
        return skip("only root is warned");
    }
    for (more, is_warned) in [("--access-log", true), ("--discard", false), ("--user=1", false)] {
        let name = format!("unixgram:@resound-rights-{}{more}", std::process::id());
        let mut command = resound();
        command.args(["serve", &name, more]).env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
        let ended = Daemon::start_command(command).stop();
        let is_said = ended.stderr.lines().any(|l| l.contains("WARN") && l.contains("root"));
        assert_eq!(is_said, is_warned, "{more}: {}", ended.stderr);
    }
}
