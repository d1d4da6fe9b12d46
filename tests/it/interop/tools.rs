//! socat and OpenBSD nc as clients, on every transport that they support.

use std::path::PathBuf;
use std::process::Command;

use crate::interop::converse;
use crate::support::{Daemon, Process, abstract_name, run, tool, wait_until};

/// Returns the path of nc if it is OpenBSD's. Other programs of this name have other flags.
fn openbsd_nc() -> Option<PathBuf> {
    let path = tool("nc")?;
    let mut help = Command::new(&path);
    help.arg("-h");
    let help = run(help);
    let is_openbsd = help.stderr.contains("OpenBSD");
    if !is_openbsd {
        assert!(std::env::var_os("RESOUND_REQUIRE_TOOLS").is_none(), "nc is not OpenBSD's");
        crate::support::skip("nc is not OpenBSD's");
    }
    is_openbsd.then_some(path)
}

fn command(tool: &PathBuf, arguments: &[&str]) -> Command {
    let mut command = Command::new(tool);
    command.args(arguments);
    command
}

/// Sends and receives a megabyte; the client shuts down its sending direction after it.
#[track_caller]
fn stream_through(command: Command) {
    let sent: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_be_bytes).collect();
    let what = format!("{command:?}");
    let ended = Process::start_with_input(command, &sent).wait();
    assert_eq!(ended.code(), 0, "{what}: {}", ended.stderr);
    assert!(ended.stdout == sent, "{what}: {} of {} bytes", ended.stdout.len(), sent.len());
}

/// case S3
#[test]
fn socat_gets_back_what_it_sent_over_streams() {
    let Some(socat) = tool("socat") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let name = abstract_name("socat");
    let daemon = Daemon::start(&[
        "tcp://127.0.0.1:0".to_owned(),
        format!("unix:{}", path.display()),
        format!("unix:{name}"),
    ]);
    for address in [
        format!("TCP:{}", daemon.addr(0)),
        format!("UNIX-CONNECT:{}", path.display()),
        format!("ABSTRACT-CONNECT:{}", &name[1..]),
    ] {
        // -t: how long the second direction may last after the first has ended.
        stream_through(command(&socat, &["-t", "60", "-", &address]));
    }
}

/// case X2: with an abstract sender among others.
#[test]
fn socat_gets_back_what_it_sent_as_datagrams() {
    let Some(socat) = tool("socat") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("datagram");
    let name = abstract_name("socat");
    let daemon = Daemon::start(&[
        "udp://127.0.0.1:0".to_owned(),
        format!("unixgram:{}", path.display()),
        format!("unixgram:{name}"),
    ]);
    let own_path = folder.path().join("socat");
    let own_name = abstract_name("own");
    for address in [
        format!("UDP:{}", daemon.addr(0)),
        format!("UNIX-SENDTO:{},bind={}", path.display(), own_path.display()),
        format!("ABSTRACT-SENDTO:{},bind={}", &name[1..], &own_name[1..]),
    ] {
        converse(command(&socat, &["-", &address]), b"to and fro\n", b"to and fro\n");
    }
    assert_eq!(daemon.counters().get("unnamed"), 0);
}

/// case S3
#[test]
fn openbsd_nc_gets_back_what_it_sent_over_streams() {
    let Some(nc) = openbsd_nc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let daemon =
        Daemon::start(&["tcp://127.0.0.1:0".to_owned(), format!("unix:{}", path.display())]);
    let port = daemon.addr(0).port().to_string();
    stream_through(command(&nc, &["-N", "127.0.0.1", &port]));
    stream_through(command(&nc, &["-N", "-U", &path.display().to_string()]));
}

#[test]
fn openbsd_nc_gets_back_what_it_sent_as_datagrams() {
    let Some(nc) = openbsd_nc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("datagram");
    let own_path = folder.path().join("nc");
    let daemon =
        Daemon::start(&["udp://127.0.0.1:0".to_owned(), format!("unixgram:{}", path.display())]);
    let port = daemon.addr(0).port().to_string();
    // -w: nc gives up after this time without a byte, which must not happen in this test.
    converse(command(&nc, &["-u", "-w60", "127.0.0.1", &port]), b"one way\n", b"one way\n");
    let (path, own_path) = (path.display().to_string(), own_path.display().to_string());
    converse(command(&nc, &["-uU", "-w60", "-s", &own_path, &path]), b"other\n", b"other\n");
}

#[test]
fn openbsd_nc_ends_by_itself_when_no_more_datagrams_come() {
    let Some(nc) = openbsd_nc() else { return };
    let daemon = Daemon::start(&["udp://127.0.0.1:0"]);
    let port = daemon.addr(0).port().to_string();
    let nc = command(&nc, &["-u", "-w1", "127.0.0.1", &port]);
    let ended = Process::start_with_input(nc, b"hello\n").wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    // Its one-second limit may expire before the echo arrives; the test checks that the echo was
    // sent.
    assert!(matches!(ended.stdout_text().as_str(), "hello\n" | ""));
    wait_until("the echo to leave", || daemon.counters().get("udp_messages_out") == 1);
}

#[test]
fn ncat_gets_back_what_it_sent() {
    let Some(ncat) = tool("ncat") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream").display().to_string();
    let daemon =
        Daemon::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0", &format!("unix:{path}")]);
    let port = |index| daemon.addr(index).port().to_string();
    stream_through(command(&ncat, &["127.0.0.1", &port(0)]));
    stream_through(command(&ncat, &["-U", &path]));
    converse(command(&ncat, &["--udp", "127.0.0.1", &port(1)]), b"hello\n", b"hello\n");
}
