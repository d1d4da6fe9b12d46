//! Datagrams where the system refuses a call, or reports and passes more than usual.

use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};

use crate::support::{Daemon, WAIT_MAX, python, resound, run, unshare_network};

/// Returns a command that runs the program where the kernel refuses one system call.
fn without(call: &str, error: &str) -> Command {
    let mut command = python("refuse_call.py");
    command.args([call, error]).arg(resound().get_program());
    command
}

/// Calls `check` for each of the two calls with each of the two errors that filters return.
fn each_refusal(mut check: impl FnMut(&str, &str)) {
    for call in ["recvmmsg", "sendmmsg"] {
        for error in ["ENOSYS", "EPERM"] {
            check(call, error);
        }
    }
}

/// case U6
#[test]
fn serve_moves_datagrams_one_by_one_where_the_batch_calls_are_refused() {
    each_refusal(|call, error| {
        let folder = tempfile::tempdir().unwrap();
        let unixgram = format!("unixgram:{}", folder.path().join("d").display());
        let mut command = without(call, error);
        command.args(["serve", "udp://127.0.0.1:0", &unixgram]);
        let daemon = Daemon::start_command(command);
        for endpoint in &daemon.endpoints {
            for message in ["first", "second"] {
                let mut send = resound();
                send.args(["send", endpoint, message]);
                let ended = run(send);
                let answer = (ended.code(), ended.stdout_text());
                assert_eq!(answer, (0, message.to_owned()), "{endpoint} {call} {error}");
            }
        }
        let ended = daemon.stop();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        assert!(!ended.stderr.contains("failed"), "{}", ended.stderr);
    });
}

/// case U6
#[test]
fn bench_loses_nothing_where_the_batch_calls_are_refused() {
    each_refusal(|call, error| {
        for transport in ["udp", "unixgram"] {
            let mut command = without(call, error);
            command.args(["bench", "--transport", transport, "-c", "2", "-d", "8", "-n", "2000"]);
            command.args(["--warmup", "0", "--assert", "loss<=0%"]);
            let ended = run(command);
            assert_eq!(ended.code(), 0, "{transport} {call} {error}: {}", ended.stderr);
        }
    });
}

/// case U11: control messages that the manager enabled on a passed socket leave room for those that
/// the guard needs.
#[test]
fn a_passed_socket_with_other_options_answers_no_broadcast() {
    let Some(unshare) = unshare_network() else { return };
    let script = python("noted_broadcast.py");
    let mut command = Command::new(unshare);
    command.arg("-n").arg(script.get_program()).args(script.get_args());
    command.arg(resound().get_program());
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(ended.stdout_text(), "unicast 1 broadcast 0\n", "{}", ended.stderr);
    assert!(ended.stderr.contains("loop_group=6"), "{}", ended.stderr);
}

fn open_descriptors(daemon: &Daemon) -> usize {
    let pid = daemon.process.pid().as_raw_nonzero();
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Sends a datagram with descriptors, which the kernel would pass to the receiver.
fn send_with_descriptors(client: &UnixDatagram, server: &Path) {
    let descriptor = client.as_fd();
    let descriptors = [descriptor; 10];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(10))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let to = SocketAddrUnix::new(server).unwrap();
    let bytes = [IoSlice::new(b"hello")];
    sendmsg_addr(client, &to, &bytes, &mut control, SendFlags::empty()).unwrap();
}

#[test]
fn descriptors_that_come_with_a_unix_datagram_are_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let server = folder.path().join("server");
    let daemon = Daemon::start(&[format!("unixgram:{}", server.display())]);
    let client = UnixDatagram::bind(folder.path().join("client")).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let before = open_descriptors(&daemon);
    for _ in 0..5 {
        send_with_descriptors(&client, &server);
        let mut buf = [0; 9];
        assert_eq!(client.recv(&mut buf).unwrap(), 5, "the server answers it");
    }
    // The server may keep one descriptor open to answer this client.
    assert!(open_descriptors(&daemon) <= before + 1);
}
