//! `serve --user`: root opens the endpoints, another user serves them.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, geteuid};

use crate::sandbox::threads;
use crate::supervised::passed;
use crate::support::{
    Daemon, WAIT_MAX, echo, resound, run, skip, tool, unshare_network, wait_until,
};

/// The number of the user `daemon` and of its group.
const DAEMON: &str = "1";

fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        skip("only root may change its user");
    }
    is_root
}

fn serve(arguments: &[&str]) -> Command {
    let mut command = resound();
    command.arg("serve").args(arguments).env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
    command
}

/// Asserts that no thread of the process has a right of root, or a way back to one.
#[track_caller]
fn assert_dropped(pid: Pid, group: &str) {
    let threads = threads(pid);
    assert!(!threads.is_empty());
    for thread in threads {
        let path = format!("/proc/{}/task/{thread}/status", pid.as_raw_nonzero());
        // The log's thread starts and ends as needed.
        let Ok(status) = fs::read_to_string(path) else { continue };
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {status}")).split_whitespace().collect()
        };
        let (uids, gids): (Vec<_>, Vec<_>) = (value("Uid:"), value("Gid:"));
        assert_eq!(uids, [DAEMON; 4], "real, effective, saved and file system user");
        assert_eq!(gids, [group; 4]);
        assert_eq!(value("Groups:"), [group], "no group of root stays");
        for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
            assert_eq!(value(set), ["0000000000000000"], "{set}");
        }
        assert_eq!(value("NoNewPrivs:"), ["1"]);
    }
}

#[test]
fn a_server_that_root_starts_serves_as_another_user() {
    if !is_root() {
        return;
    }
    let more: [&[&str]; 5] = [
        &[],
        &["--sandbox"],
        &["--threads", "2"],
        &["--metrics", "127.0.0.1:0"],
        &["--sandbox", "--threads", "2", "--metrics", "127.0.0.1:0"],
    ];
    for more in more {
        let arguments = [&["tcp://127.0.0.1:0", "--user", "daemon"], more].concat();
        let daemon = Daemon::start_command(serve(&arguments));
        echo(&mut TcpStream::connect(daemon.addr(0)).unwrap());
        assert_dropped(daemon.process.pid(), DAEMON);
        let ended = daemon.stop();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let line = "running as user daemon (1), group 1";
        assert!(ended.stderr.contains(line), "{}", ended.stderr);
        assert!(!ended.stderr.contains("and its capabilities stay"), "{}", ended.stderr);
    }
}

#[test]
fn the_group_can_be_given_and_numbers_are_names() {
    if !is_root() {
        return;
    }
    for (user, group) in [("daemon:nogroup", "65534"), ("1:54321", "54321")] {
        let daemon = Daemon::start_command(serve(&["udp://127.0.0.1:0", "--user", user]));
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(WAIT_MAX)).unwrap();
        client.send_to(b"ping", daemon.addr(0)).unwrap();
        let mut reply = [0; 8];
        assert_eq!(client.recv(&mut reply).unwrap(), 4);
        assert_dropped(daemon.process.pid(), group);
        assert_eq!(daemon.stop().code(), 0);
    }
}

/// The metrics read figures of the process, which Linux hides after a change of the user.
#[test]
fn the_metrics_still_count_descriptors() {
    if !is_root() {
        return;
    }
    let arguments = ["tcp://127.0.0.1:0", "--user", "daemon", "--metrics", "127.0.0.1:0"];
    let daemon = Daemon::start_command(serve(&arguments));
    wait_until("the address of the metrics", || {
        daemon.process.stderr_text().contains("/metrics\n")
    });
    let log = daemon.process.stderr_text();
    let (_, rest) = log.split_once("metrics at http://").expect("the log tells the address");
    let (addr, _) = rest.split_once('/').unwrap();
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    client.read_to_string(&mut page).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix("process_open_fds "));
    let count: u64 = line.expect("the page counts descriptors").parse().unwrap();
    assert!(count > 3, "{count}");
    daemon.stop();
}

/// The user may remove the files of its own folder, and none of root's.
#[test]
fn a_socket_file_that_stays_is_named_at_the_start_and_at_the_end() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let (own, sticky) = (folder.path().join("own"), folder.path().join("sticky"));
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, DAEMON.parse().ok(), None).unwrap();
    fs::create_dir(&sticky).unwrap();
    fs::set_permissions(&sticky, Permissions::from_mode(0o1777)).unwrap();
    for (place, stays) in [(folder.path(), true), (&sticky, true), (&own, false)] {
        let path = place.join("echo");
        let endpoint = format!("unix:{}", path.display());
        let daemon = Daemon::start_command(serve(&[&endpoint, "--user", "daemon"]));
        let ended = daemon.stop();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        assert_eq!(path.exists(), stays, "{}", ended.stderr);
        let lines = ["the socket file stays when the server ends", "the socket file stays: remove"];
        for line in lines {
            let line = format!("{endpoint}: {line}");
            assert_eq!(ended.stderr.contains(&line), stays, "{}", ended.stderr);
        }
    }
}

#[test]
fn a_privileged_port_is_bound_before_the_change() {
    let (Some(unshare), Some(python)) = (unshare_network(), tool("python3")) else { return };
    let script = "ip link set lo up
        \"$0\" serve tcp://127.0.0.1:7 udp://127.0.0.1:7 --user daemon > listening &
        while ! grep -q udp listening; do sleep 0.01; done
        \"$1\" -c 'import socket
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    peer = socket.socket(socket.AF_INET, kind)
    peer.settimeout(60)
    peer.connect((\"127.0.0.1\", 7))
    peer.send(b\"hello\")
    print(peer.recv(5).decode())'
        grep ^Uid: /proc/$!/status
        kill $!
        wait $!";
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(unshare);
    command.args(["-nm", "sh", "-ec", script]).arg(resound().get_program()).arg(python);
    command.current_dir(folder.path()).env_remove("RUST_LOG");
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let uids = [DAEMON; 4].join("\t");
    assert_eq!(ended.stdout_text(), format!("hello\nhello\nUid:\t{uids}\n"));
}

#[test]
fn a_user_that_the_server_cannot_become_is_refused_before_anything_is_served() {
    let cases = [
        ("no-such-user", 1, "cannot become user 'no-such-user': no such user"),
        ("daemon:no-such-group", 1, "cannot become user 'daemon': no such group"),
        ("root", 1, "root would keep its rights"),
        ("", 2, "expected NAME or NAME:GROUP"),
        ("daemon:", 2, "expected NAME or NAME:GROUP"),
    ];
    for (user, code, reason) in cases {
        let ended = run(serve(&["tcp://127.0.0.1:0", "--user", user]));
        assert_eq!(ended.code(), code, "{user}: {}", ended.stderr);
        assert_eq!(ended.stdout_text(), "", "{user}");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{user}: {}", ended.stderr);
    }
}

#[test]
fn only_root_may_change_its_user() {
    // Another user may not be able to reach the program where it was built.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("resound");
    fs::copy(resound().get_program(), &program).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.args(["serve", "tcp://127.0.0.1:0", "--user", "daemon"]).env_remove("RUST_LOG");
    if geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let ended = run(command);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let reason = "cannot become user 'daemon': only root may change its user";
    assert!(ended.stderr.contains(reason), "{}", ended.stderr);
}

#[test]
fn sockets_that_root_passed_are_served_by_another_user() {
    if !is_root() {
        return;
    }
    let more: [&[&str]; 3] = [&[], &["--sandbox"], &["--sandbox", "--threads", "2"]];
    for more in more {
        let arguments = [&["tcp://127.0.0.1:0", "--user", "daemon"], more].concat();
        let daemon = Daemon::start_command(passed(&["tcp=127.0.0.1"], &arguments));
        echo(&mut TcpStream::connect(daemon.addr(0)).unwrap());
        assert_dropped(daemon.process.pid(), DAEMON);
        assert_eq!(daemon.stop().code(), 0, "{more:?}");
    }
}

#[test]
fn the_server_gets_the_groups_of_the_user_and_keeps_none_of_its_own() {
    let (Some(unshare), Some(setpriv)) = (unshare_network(), tool("setpriv")) else { return };
    let script = "ip link set lo up
        { cat /etc/group; echo more:x:54322:daemon; } > group
        mount --bind group /etc/group
        \"$1\" --groups 0,4,54321 \"$0\" serve tcp://127.0.0.1:7 --user daemon > listening &
        while ! grep -q tcp listening; do sleep 0.01; done
        grep ^Groups: /proc/$!/status
        kill $!
        wait $!";
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(unshare);
    command.args(["-nm", "sh", "-ec", script]).arg(resound().get_program()).arg(setpriv);
    command.current_dir(folder.path()).env_remove("RUST_LOG");
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let groups: Vec<_> = ended.stdout_text().split_whitespace().map(str::to_owned).collect();
    assert_eq!(groups, ["Groups:", DAEMON, "54322"]);
}
