//! `resound ping` against the echo services that others make of socat and ncat.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;

use crate::ping::{PATIENT, assert_messages, document, ping};
use crate::support::{Process, run, tool, wait_until};

#[track_caller]
fn assert_echoes(endpoint: &str) {
    println!("{endpoint}");
    // One after the other: cat(1) sees no boundaries, and makes one of datagrams that come at once.
    let ended = run(ping(&["-J", "-c", "20", "-i", "0", PATIENT, endpoint]));
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    assert_messages(&document(&ended), &[("sent", 20), ("received", 20)]);
}

#[test]
fn socat_is_measured_on_every_transport() {
    let Some(socat) = tool("socat") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (scheme, listen) in [
        ("tcp", "TCP-LISTEN:0,bind=127.0.0.1,fork".to_owned()),
        ("udp", "UDP-LISTEN:0,bind=127.0.0.1,fork".to_owned()),
        ("unix", format!("UNIX-LISTEN:{},fork", path("stream"))),
        ("unixgram", format!("UNIX-RECVFROM:{},fork", path("datagram"))),
    ] {
        let mut command = Command::new(&socat);
        // Twice: it says where it listens.
        command.args(["-d", "-d", &listen, "EXEC:cat"]);
        let server = Process::start(command);
        let mut endpoint = match scheme {
            "unix" => format!("unix:{}", path("stream")),
            "unixgram" => format!("unixgram:{}", path("datagram")),
            _ => String::new(),
        };
        wait_until("socat", || {
            let log = server.stderr_text();
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let listens =
                |line: &&str| line.contains(" listening on ") || line.contains("receiving");
            let addr = whole.lines().find(listens).and_then(|line| line.rsplit(' ').next());
            if let Some(addr) = addr.filter(|_| endpoint.is_empty()) {
                endpoint = format!("{scheme}://{addr}");
            }
            addr.is_some()
        });
        assert_echoes(&endpoint);
    }
}

#[test]
fn ncat_is_measured() {
    let Some(ncat) = tool("ncat") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream").display().to_string();
    // It does not say which port it was given: on an address that no other test uses one stays
    // free.
    let tcp = TcpListener::bind("127.6.6.6:0").unwrap().local_addr().unwrap().port().to_string();
    let udp = UdpSocket::bind("127.6.6.6:0").unwrap().local_addr().unwrap().port().to_string();
    for (endpoint, listen) in [
        (format!("tcp://127.6.6.6:{tcp}"), vec!["127.6.6.6", tcp.as_str()]),
        (format!("udp://127.6.6.6:{udp}"), vec!["-u", "127.6.6.6", &udp]),
        (format!("unix:{path}"), vec!["-U", &path]),
    ] {
        let mut command = Command::new(&ncat);
        command.args(["-v", "-l", "-k", "-e", "/bin/cat"]).args(listen);
        let server = Process::start(command);
        wait_until("ncat", || server.stderr_text().contains("Listening on "));
        assert_echoes(&endpoint);
    }
}
