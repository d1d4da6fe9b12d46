//! Unix sockets: senders with and without a name, and socket files.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::interop::{ask, python_prints};
use crate::support::{Daemon, Ended, Process, WAIT_MAX, abstract_name, resound, run, wait_until};

/// The schemes of both kinds of Unix sockets.
const SCHEMES: [&str; 2] = ["unix", "unixgram"];

fn serve(endpoint: &str) -> Command {
    let mut command = resound();
    command.args(["serve", endpoint]);
    command
}

/// Creates a socket file whose socket is closed.
fn make_stale(scheme: &str, path: &Path) {
    match scheme {
        "unix" => drop(UnixListener::bind(path).unwrap()),
        _ => drop(UnixDatagram::bind(path).unwrap()),
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[track_caller]
fn assert_refused(ended: &Ended, endpoint: &str, reason: &str) {
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert_eq!(ended.stdout_text(), "", "nothing listens");
    let line = ended.stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with(&format!("resound: cannot bind {endpoint}: ")), "{line:?}");
    assert!(line.contains(reason), "{line:?} lacks {reason:?}");
}

/// case X1
#[test]
fn a_sender_without_a_name_is_counted_and_gets_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&[
        format!("unixgram:{}/datagram", folder.path().display()),
        format!("unixgram:{}", abstract_name("unnamed")),
    ]);
    for endpoint in &daemon.endpoints {
        for hex in ["68656c6c6f", ""] {
            python_prints("sender.py", &[endpoint.as_str(), hex]);
        }
    }
    wait_until("the datagrams", || daemon.counters().get("unixgram_messages_in") == 4);
    let counters = daemon.counters();
    assert_eq!((counters.get("unnamed"), counters.get("unixgram_messages_out")), (4, 0));
    for endpoint in &daemon.endpoints {
        assert_eq!(ask(endpoint, "and now?", folder.path()), "and now?");
    }
    assert_eq!(daemon.stop().code(), 0);
}

/// case X2
#[test]
fn senders_with_a_chosen_or_an_automatic_abstract_name_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&[
        format!("unixgram:{}/datagram", folder.path().display()),
        format!("unixgram:{}", abstract_name("named")),
    ]);
    for endpoint in &daemon.endpoints {
        // The empty name lets Linux choose one. An argument cannot contain the zero byte of a
        // chosen abstract name, so a wrapper passes it to the textbook client.
        assert_eq!(python_prints("client.py", &[endpoint.as_str(), "picked", ""]), "picked");
        let name = abstract_name("chosen");
        let client = UnixDatagram::bind_addr(&abstract_addr(&name)).unwrap();
        client.set_read_timeout(Some(WAIT_MAX)).unwrap();
        connect(&client, endpoint);
        client.send(b"chosen").unwrap();
        let mut buf = [0; 16];
        let length = client.recv(&mut buf).unwrap();
        assert_eq!(&buf[..length], b"chosen");
    }
    assert_eq!(daemon.counters().get("unnamed"), 0);
}

fn abstract_addr(name: &str) -> std::os::unix::net::SocketAddr {
    use std::os::linux::net::SocketAddrExt;

    std::os::unix::net::SocketAddr::from_abstract_name(&name[1..]).unwrap()
}

fn connect(client: &UnixDatagram, endpoint: &str) {
    let (_, name) = endpoint.split_once(':').unwrap();
    if name.starts_with('@') {
        client.connect_addr(&abstract_addr(name)).unwrap();
    } else {
        client.connect(name).unwrap();
    }
}

/// cases U1, X5: an empty datagram counts as a datagram. A send that is too long fails in the
/// client, and the server receives nothing.
#[test]
fn unix_datagrams_come_back_whole_and_one_too_big_is_the_senders_error() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&[
        format!("unixgram:{}/datagram", folder.path().display()),
        format!("unixgram:{}", abstract_name("sizes")),
    ]);
    for (number, endpoint) in daemon.endpoints.iter().enumerate() {
        let own_name = folder.path().join(format!("sizes-{number}")).display().to_string();
        let sizes = ["0", "1", "4096", "65536", "150000", "100000000", "5"];
        let mut arguments = vec![endpoint.as_str()];
        arguments.extend(sizes);
        arguments.extend(["--own-name", &own_name]);
        let printed = python_prints("sizes.py", &arguments);
        let expected = sizes.map(|size| match size {
            "100000000" => format!("{size} too big"),
            _ => format!("{size} whole"),
        });
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "{endpoint}");
    }
    assert_eq!(daemon.counters().get("truncated"), 0);
}

/// case X5: the error of `send` names the cause.
#[test]
fn send_says_that_a_message_is_too_long_for_one_datagram() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&[
        format!("unixgram:{}/datagram", folder.path().display()),
        "udp://127.0.0.1:0".to_owned(),
    ]);
    for endpoint in &daemon.endpoints {
        let mut command = resound();
        command.args(["send", endpoint]);
        let ended = Process::start_with_input(command, &[b'x'; 3 << 20]).wait();
        assert_eq!(ended.code(), 1);
        let (bytes, lines) = (3 << 20, ended.stderr.lines().count());
        assert!(ended.stderr.contains(&format!("{bytes} bytes are too long for one datagram")));
        assert_eq!((lines, ended.stdout.len()), (1, 0), "{}", ended.stderr);
    }
}

/// case X6
#[test]
fn a_stale_socket_file_is_taken_over_whatever_its_kind() {
    let clients = tempfile::tempdir().unwrap();
    for scheme in SCHEMES {
        for stale in SCHEMES {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("echo");
            make_stale(stale, &path);
            assert!(is_socket(&path));
            let daemon = Daemon::start(&[format!("{scheme}:{}", path.display())]);
            assert_eq!(ask(&daemon.endpoints[0], "taken", clients.path()), "taken");
            assert_eq!(daemon.stop().code(), 0);
            assert!(!path.exists(), "its own file is removed at exit");
        }
    }
}

/// case X6: a killed server leaves its file; the next server takes it over.
#[test]
fn the_file_of_a_killed_server_is_taken_over() {
    let clients = tempfile::tempdir().unwrap();
    for scheme in SCHEMES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("echo");
        let endpoint = format!("{scheme}:{}", path.display());
        let killed = Daemon::start(&[&endpoint]);
        killed.process.signal(Signal::KILL);
        killed.process.wait();
        assert!(is_socket(&path));
        let daemon = Daemon::start(&[&endpoint]);
        assert_eq!(ask(&daemon.endpoints[0], "next", clients.path()), "next");
    }
}

/// case X6
#[test]
fn a_path_in_use_is_refused_and_left_to_its_owner() {
    let clients = tempfile::tempdir().unwrap();
    for owner_scheme in SCHEMES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("echo");
        let owner = Daemon::start(&[format!("{owner_scheme}:{}", path.display())]);
        for scheme in SCHEMES {
            let endpoint = format!("{scheme}:{}", path.display());
            let ended = run(serve(&endpoint));
            assert_refused(&ended, &endpoint, "a socket with this path is open already");
        }
        assert_eq!(ask(&owner.endpoints[0], "mine", clients.path()), "mine");
        let counters = owner.counters();
        let messages = counters.get(&format!("{owner_scheme}_messages_in"));
        assert_eq!(messages, 1, "the liveness check is not a message");
    }
}

/// case X6
#[test]
fn an_abstract_name_in_use_is_refused() {
    for scheme in SCHEMES {
        let endpoint = format!("{scheme}:{}", abstract_name("taken"));
        let _owner = Daemon::start(&[&endpoint]);
        assert_refused(&run(serve(&endpoint)), &endpoint, "address in use");
    }
}

/// case X6
#[test]
fn a_file_that_is_not_a_socket_is_refused_and_never_deleted() {
    for scheme in SCHEMES {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "precious").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let inner = folder.path().join("folder");
        fs::create_dir(&inner).unwrap();
        for path in [&file, &link, &inner] {
            let endpoint = format!("{scheme}:{}", path.display());
            assert_refused(&run(serve(&endpoint)), &endpoint, "is not a socket");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && inner.is_dir());
    }
}

/// case X7
#[test]
fn exactly_one_of_two_servers_started_at_once_on_a_stale_path_wins() {
    let clients = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let scheme = SCHEMES[round % 2];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("echo");
        make_stale(scheme, &path);
        let endpoint = format!("{scheme}:{}", path.display());
        let mut rivals = [(); 2].map(|()| Process::start(serve(&endpoint)));
        wait_until("one to listen and one to end", || {
            let listening = rivals.iter().filter(|one| one.stdout_text().ends_with('\n')).count();
            let ended =
                rivals.iter_mut().filter_map(|one| (!one.is_running()).then_some(())).count();
            assert!(listening < 2 && ended < 2, "round {round}: {listening} listen, {ended} ended");
            listening == 1 && ended == 1
        });
        let [first, second] = rivals;
        let (mut winner, loser) =
            if first.stdout_text().is_empty() { (second, first) } else { (first, second) };
        assert_refused(&loser.wait(), &endpoint, "a socket with this path is open already");
        assert!(winner.is_running());
        assert_eq!(ask(&endpoint, "won", clients.path()), "won");
    }
}

/// case X8
#[test]
fn a_server_whose_path_was_replaced_leaves_the_new_file_alone() {
    let clients = tempfile::tempdir().unwrap();
    for scheme in SCHEMES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("echo");
        let endpoint = format!("{scheme}:{}", path.display());
        let first = Daemon::start(&[&endpoint]);
        fs::remove_file(&path).unwrap();
        let successor = Daemon::start(&[&endpoint]);
        assert_eq!(first.stop().code(), 0);
        assert!(is_socket(&path));
        assert_eq!(ask(&successor.endpoints[0], "still here", clients.path()), "still here");
        assert_eq!(successor.stop().code(), 0);
        assert!(!path.exists());
    }
}

/// case X8: for every kind of file in its place.
#[test]
fn a_file_that_replaced_the_socket_file_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let daemon = Daemon::start(&[format!("unix:{}", path.display())]);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    assert_eq!(daemon.stop().code(), 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

/// case X9: a path of 107 bytes is served; 108 bytes are an error that names the length.
#[test]
fn the_longest_path_is_served_and_a_longer_one_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let clients = tempfile::tempdir().unwrap();
    let of_length = |bytes: usize| {
        let folder = folder.path().display().to_string();
        format!("{folder}/{}", "x".repeat(bytes - folder.len() - 1))
    };
    for scheme in SCHEMES {
        let daemon = Daemon::start(&[format!("{scheme}:{}", of_length(107))]);
        assert_eq!(ask(&daemon.endpoints[0], "fits", clients.path()), "fits");
        for subcommand in ["serve", "send"] {
            let mut command = resound();
            command.args([subcommand, &format!("{scheme}:{}", of_length(108))]);
            let ended = run(command);
            assert_eq!((ended.code(), ended.stdout.len()), (2, 0));
            assert!(ended.stderr.contains("a path of 108 bytes"), "{}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        }
    }
}

/// case X9
#[test]
fn a_signal_removes_the_clients_socket_file() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silent");
        let _silent = UnixDatagram::bind(&path).unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let mut command = resound();
        command.args(["send", "--timeout", "60s"]);
        command.args([&format!("unixgram:{}", path.display()), "anybody?"]);
        command.env("TMPDIR", temporary.path());
        let client = Process::start(command);
        wait_until("the client's socket file", || {
            let mut folders = fs::read_dir(temporary.path()).unwrap().filter_map(Result::ok);
            folders.any(|folder| {
                let files = fs::read_dir(folder.path()).map_or(0, Iterator::count);
                files > 0
            })
        });
        client.signal(signal);
        let ended = client.wait();
        assert_eq!(
            ended.status.signal(),
            Some(signal.as_raw()),
            "the signal ends the program as usual"
        );
        let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// case X9
#[test]
fn the_clients_socket_file_is_removed_however_the_client_ends() {
    let folder = tempfile::tempdir().unwrap();
    let silent_path = folder.path().join("silent");
    let _silent = UnixDatagram::bind(&silent_path).unwrap();
    let daemon = Daemon::start(&[format!("unixgram:{}/echo", folder.path().display())]);
    let silent = format!("unixgram:{}", silent_path.display());
    let missing = format!("unixgram:{}/missing", folder.path().display());
    let cases = [(&daemon.endpoints[0], "50s", 0), (&silent, "100ms", 1), (&missing, "50s", 1)];
    for (endpoint, timeout, code) in cases {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = resound();
        command.args(["send", "--timeout", timeout, endpoint, "hello"]);
        command.env("TMPDIR", temporary.path());
        let ended = run(command);
        assert_eq!(ended.code(), code, "{endpoint}: {}", ended.stderr);
        let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
        assert!(left.is_empty(), "{endpoint}: {left:?}");
    }
}

/// case X9: the client's socket file is in the temporary folder, which the error names if it is
/// unsuitable.
#[test]
fn a_temporary_folder_that_holds_no_socket_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("x".repeat(100));
    fs::create_dir(&deep).unwrap();
    let daemon = Daemon::start(&[format!("unixgram:{}/echo", folder.path().display())]);
    for temporary in [&deep, &folder.path().join("missing")] {
        let mut command = resound();
        command.args(["send", &daemon.endpoints[0], "hello"]).env("TMPDIR", temporary);
        let ended = run(command);
        assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1), "{}", ended.stderr);
        assert!(ended.stderr.contains(&temporary.display().to_string()), "{}", ended.stderr);
        assert!(ended.stderr.contains("TMPDIR"), "{}", ended.stderr);
    }
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
}
