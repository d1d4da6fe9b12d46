//! Echo services made with socat and ncat, started one after the other.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;

use super::{Process, tool, wait_until};

/// Calls `check` with the endpoint of a socat echo service on each transport, if socat is
/// installed. Each datagram may start a cat(1), which ignores message boundaries: several datagrams
/// at once may come back as one.
#[track_caller]
pub fn each_of_socat(mut check: impl FnMut(&str)) {
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
        // With -d twice, socat prints where it listens.
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
        check(&endpoint);
    }
}

/// Calls `check` with the endpoint of an ncat echo service on each of its transports, if ncat is
/// installed. ncat does not print the port that the kernel chose, so this chooses one: on a `host`
/// that no other test uses, it stays free.
#[track_caller]
pub fn each_of_ncat(host: &str, mut check: impl FnMut(&str)) {
    let Some(ncat) = tool("ncat") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream").display().to_string();
    let any = format!("{host}:0");
    let tcp = TcpListener::bind(&any).unwrap().local_addr().unwrap().port().to_string();
    let udp = UdpSocket::bind(&any).unwrap().local_addr().unwrap().port().to_string();
    for (endpoint, listen) in [
        (format!("tcp://{host}:{tcp}"), vec![host, tcp.as_str()]),
        (format!("udp://{host}:{udp}"), vec!["-u", host, &udp]),
        (format!("unix:{path}"), vec!["-U", &path]),
    ] {
        let mut command = Command::new(&ncat);
        command.args(["-v", "-l", "-k", "-e", "/bin/cat"]).args(listen);
        let server = Process::start(command);
        wait_until("ncat", || server.stderr_text().contains("Listening on "));
        check(&endpoint);
    }
}
