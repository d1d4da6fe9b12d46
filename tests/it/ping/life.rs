//! Services that start and stop, and the end of a run by a signal or by a closed output.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::ping::{Faulty, PATIENT, assert_messages, count, document, every_endpoint, ping};
use crate::support::{Daemon, Process, WAIT_MAX, run, wait_until};

/// Like [`every_endpoint`], with ports that stay free while no server uses them, because they are
/// on an address that no other test uses.
fn every_fixed_endpoint(folder: &Path) -> Vec<String> {
    let tcp = TcpListener::bind("127.7.7.7:0").unwrap().local_addr().unwrap();
    let udp = UdpSocket::bind("127.7.7.7:0").unwrap().local_addr().unwrap();
    let mut endpoints = every_endpoint(folder);
    endpoints[0] = format!("tcp://{tcp}");
    endpoints[1] = format!("udp://{udp}");
    endpoints.to_vec()
}

/// Waits until the process has printed this many lines that contain `what`.
#[track_caller]
fn wait_for(process: &mut Process, what: &str, times: usize) {
    wait_until(what, || {
        assert!(process.is_running(), "{}{}", process.stdout_text(), process.stderr_text());
        process.stdout_text().lines().filter(|line| line.contains(what)).count() >= times
    });
}

/// cases U8, X4: for `ping`, which continues when it is refused and finds a service that starts
/// again.
#[test]
fn probes_find_a_service_that_starts_and_one_that_restarts() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_fixed_endpoint(folder.path()) {
        println!("{endpoint}");
        let mut process = Process::start(ping(&["-i", "5ms", PATIENT, &endpoint]));
        let is_missing = endpoint.contains(folder.path().to_str().unwrap());
        let reason = if is_missing { "no such file or directory" } else { "refused" };
        wait_for(&mut process, reason, 2);
        let daemon = Daemon::start(&[&endpoint]);
        wait_for(&mut process, "time=", 2);

        // The killed server leaves its file, at which no server listens.
        daemon.process.signal(Signal::KILL);
        daemon.process.wait();
        let refused = process.stdout_text().matches("refused").count();
        wait_for(&mut process, "refused", refused + 2);
        let daemon = Daemon::start(&[&endpoint]);
        let answered = process.stdout_text().matches("time=").count();
        wait_for(&mut process, "time=", answered + 2);

        process.signal(Signal::INT);
        let ended = process.wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        daemon.stop();
    }
}

/// SIGQUIT does the same in ping(8). The output on stdout does not change, so that a document stays
/// complete.
#[test]
fn a_sigquit_prints_the_figures_so_far_to_stderr_and_the_run_continues() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for endpoint in &daemon.endpoints {
        for json in [None, Some("-J"), Some("-q")] {
            let arguments = [PATIENT, "-i", "1ms", endpoint].into_iter().chain(json);
            let process = Process::start(ping(&arguments.collect::<Vec<_>>()));
            wait_until("the handler, without which the signal ends the program", || {
                catches_quit(&process)
            });
            wait_until("a line with an answer", || {
                process.signal(Signal::QUIT);
                let stderr = process.stderr_text();
                stderr.lines().any(|line| line.contains(", 0% loss, rtt min/avg/max/mdev = "))
            });
            process.signal(Signal::INT);
            let ended = process.wait();
            assert_eq!(ended.code(), 0, "{}", ended.stderr);
            for line in ended.stderr.lines() {
                assert!(line.contains(" sent, ") && line.contains(" received"), "{line}");
                assert!(!line.contains("at the end"), "{line}");
            }
            if json == Some("-J") {
                assert_eq!(document(&ended)["status"], "ok");
            } else {
                assert!(ended.stdout_text().contains(" ping statistics ---\n"));
            }
        }
    }
}

/// Returns true if the process has a handler for SIGQUIT (proc_pid_status(5), SigCgt).
fn catches_quit(process: &Process) -> bool {
    let path = format!("/proc/{}/status", process.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(path).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
    caught & (1 << (Signal::QUIT.as_raw() - 1)) != 0
}

/// No probe is lost: even the first one reaches the address with a server.
#[test]
fn a_name_with_several_addresses_is_tried_at_each() {
    let addrs: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs("localhost:1").unwrap().collect();
    for ip in addrs.iter().map(SocketAddr::ip) {
        for scheme in ["tcp", "udp"] {
            let Ok(daemon) = Daemon::try_start(serve(&format!("{scheme}://{}", addr(ip)))) else {
                crate::support::skip(format_args!("{ip} is not of this machine"));
                continue;
            };
            let endpoint = format!("{scheme}://localhost:{}", daemon.addr(0).port());
            let ended = run(ping(&["-J", "-c3", "-i1ms", PATIENT, &endpoint]));
            assert_messages(&document(&ended), &[("sent", 3), ("received", 3)]);
        }
    }
}

fn addr(ip: std::net::IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 0)
}

fn serve(endpoint: &str) -> std::process::Command {
    let mut command = crate::support::resound();
    command.args(["serve", endpoint]);
    command
}

/// The last probes are sent although the first are not answered yet.
#[test]
fn probes_are_sent_when_due_however_long_answers_take() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let endpoint = format!("udp://{}", server.local_addr().unwrap());
    let process = Process::start(ping(&["-J", "-c5", "-i", "2ms", PATIENT, &endpoint]));
    let mut messages = Vec::new();
    while messages.len() < 5 {
        let mut message = [0; 100];
        let (length, peer) = server.recv_from(&mut message).unwrap();
        messages.push((message[..length].to_vec(), peer));
    }
    for (message, peer) in messages {
        server.send_to(&message, peer).unwrap();
    }
    assert_messages(&document(&process.wait()), &[("sent", 5), ("received", 5)]);
}

/// case B5: for `ping`
#[test]
fn ctrl_c_before_the_count_is_reached_leaves_a_partial_document() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        let server = Faulty::start(&endpoint, &["drop:2"]);
        let mut command = ping(&["-J", "-c", "1m", "-i", "1ms", PATIENT, &server.endpoint]);
        command.env("TMPDIR", folder.path());
        let process = Process::start(command);
        wait_for_a_few_probes(&process);
        process.signal(Signal::INT);
        let ended = process.wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        let document = document(&ended);
        assert_eq!(document["status"], "partial");
        let [sent, received, in_flight] =
            ["sent", "received", "in_flight_at_end"].map(|name| count(&document, name));
        assert!(in_flight >= 1, "{document}");
        assert_eq!(sent, received + in_flight, "{document}");
    }
}

/// Waits until it has sent some probes. It prints nothing before its end, but each probe makes it
/// sleep, which the kernel counts as a context switch.
fn wait_for_a_few_probes(process: &Process) {
    let path = format!("/proc/{}/task", process.pid().as_raw_nonzero());
    let switches = || {
        let status = std::fs::read_to_string(format!("{path}/../status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    wait_until("a few probes", || switches() > 100);
}

/// case X9
#[test]
fn the_clients_socket_file_is_removed_at_every_end() {
    let folder = tempfile::tempdir().unwrap();
    let own = tempfile::tempdir().unwrap();
    let endpoint = format!("unixgram:{}/datagram", folder.path().display());
    let _daemon = Daemon::start(&[&endpoint]);
    let files = || std::fs::read_dir(own.path()).unwrap().count();
    let command = |arguments: &[&str]| {
        let mut command = ping(arguments);
        command.env("TMPDIR", own.path()).args([PATIENT, &endpoint]);
        command
    };
    assert_eq!(run(command(&["-c1"])).code(), 0);
    assert_eq!(files(), 0);
    for signal in [Signal::INT, Signal::TERM] {
        let mut process = Process::start(command(&[]));
        process.wait_for_line("64 bytes from ");
        assert_eq!(files(), 1);
        process.signal(signal);
        assert_eq!(process.wait().code(), 0);
        assert_eq!(files(), 0, "{signal:?}");
    }
}

/// The backlog is full, so SYNs are dropped and a Unix connect blocks.
#[test]
fn connecting_ends_at_the_timeout_and_at_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full");
    let unix = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&unix, 0).unwrap();
    let _queued = UnixStream::connect(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&tcp, 0).unwrap();
    let tcp_addr = tcp.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&tcp_addr, Duration::from_millis(200)) {
        queued.push(stream);
    }
    for endpoint in [format!("tcp://{tcp_addr}"), format!("unix:{}", path.display())] {
        let ended = run(ping(&["-c2", "-i1ms", "-W200ms", &endpoint]));
        assert_eq!((ended.code(), ended.stderr.as_str()), (1, ""));
        let stdout = ended.stdout_text();
        for number in [1, 2] {
            let line = format!("\nseq={number} no connection within 200ms\n");
            assert!(stdout.contains(&line), "{stdout}");
        }

        let mut process = Process::start(ping(&["-c1", "-W", "1d", &endpoint]));
        process.wait_for_line("PING ");
        process.signal(Signal::INT);
        let ended = process.wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (1, ""));
        let stdout = ended.stdout_text();
        assert!(stdout.contains("--- "), "{stdout}");
    }
}

/// The peer reads nothing, so the sockets' buffers fill. The timeout also applies to probes that
/// find no room.
#[test]
fn a_run_against_a_peer_that_never_reads_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let ended = run(ping(&["-J", "-c3", "-i1ms", "-l16MiB", "-W300ms", &endpoint]));
    assert_eq!((ended.code(), ended.stderr.as_str()), (1, ""));
    assert_messages(&document(&ended), &[("sent", 3), ("lost", 3)]);
}

/// case P4: the exit code still depends on whether any echo came back.
#[test]
fn a_closed_stdout_is_a_quiet_end() {
    let folder = tempfile::tempdir().unwrap();
    for endpoint in every_endpoint(folder.path()) {
        for (fault, arguments, code) in [
            // A stdout that is closed before the header ends the run there.
            ("mute", &[][..], 1),
            ("mute", &["-J", "-c1", "-W1ms"], 1),
            ("pieces", &["-J", "-c1", PATIENT], 0),
            ("pieces", &["-c1", "-q", PATIENT], 1),
        ] {
            let server = Faulty::start(&endpoint, &[fault]);
            let (reader, writer) = io::pipe().unwrap();
            drop(reader);
            let command = ping(&[arguments, &[&server.endpoint]].concat());
            let ended = Process::start_with(command, Stdio::null(), writer.into()).wait();
            let what = format!("{endpoint} {fault} {arguments:?}");
            assert_eq!((ended.code(), ended.stderr.as_str()), (code, ""), "{what}");
        }
    }
}

/// case P4: the reader closes after one line, as `| head -1` does, or after several lines.
#[test]
fn a_stdout_read_in_part_is_a_quiet_end() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    for endpoint in &daemon.endpoints {
        let (mut reader, writer) = io::pipe().unwrap();
        let command = ping(&["-i", "1ms", PATIENT, endpoint]);
        let process = Process::start_with(command, Stdio::null(), writer.into());
        let mut text = String::new();
        while text.matches("seq=").count() < 2 {
            let mut piece = [0; 16];
            let count = reader.read(&mut piece).unwrap();
            text += std::str::from_utf8(&piece[..count]).unwrap();
        }
        drop(reader);
        let ended = process.wait();
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    }
}

#[test]
fn a_full_device_as_stdout_is_an_error_of_one_line() {
    let daemon = Daemon::start(&["udp://127.0.0.1:0"]);
    for arguments in [&["-c1"][..], &["-c1", "-J"], &["-c1", "-q"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let command = ping(&[arguments, &[PATIENT, &daemon.endpoints[0]]].concat());
        let ended = Process::start_with(command, Stdio::null(), full.into()).wait();
        assert_eq!(ended.code(), 1);
        assert_eq!(ended.stderr, "resound: cannot write to stdout: no space left on device\n");
    }
}
