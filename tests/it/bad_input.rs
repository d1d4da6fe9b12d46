//! Requests that the program cannot fulfil. It prints one line that names the cause. It exits with
//! 2 for a wrong command line and with 1 if it cannot start.

mod commands;

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Daemon, Ended, abstract_name, resound, run};

/// Longer than any message of the program, shorter than a text that floods a terminal.
const LINE_BYTES_MAX: usize = 2_500;

/// The user that owns nothing, on every Linux.
const UNPRIVILEGED_USER: u32 = 65_534;

#[track_caller]
fn assert_one_line(line: &str, parts: &[&str]) {
    assert!(line.starts_with("resound: "), "{line:?}");
    assert!(line.len() <= LINE_BYTES_MAX, "{} bytes", line.len());
    assert!(!line.contains(char::is_control), "{line:?}");
    for part in parts {
        assert!(line.contains(part), "{line:?} lacks {part:?}");
    }
}

/// Asserts exit code 2, no output, and exactly one line on stderr that contains these parts.
#[track_caller]
fn assert_usage(ended: &Ended, parts: &[&str]) {
    assert_eq!((ended.code(), ended.stdout.len()), (2, 0), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{:?}", ended.stderr);
    assert_one_line(ended.stderr.trim_end_matches('\n'), parts);
}

/// Asserts exit code 1, no output, and a last line on stderr that is the only complaint and
/// contains these parts.
#[track_caller]
fn assert_not_started(ended: &Ended, parts: &[&str]) {
    assert_eq!((ended.code(), ended.stdout.len()), (1, 0), "{}", ended.stderr);
    let complaints = ended.stderr.lines().filter(|line| line.starts_with("resound: ")).count();
    assert_eq!(complaints, 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("INFO"), "what it would do: {}", ended.stderr);
    assert_one_line(ended.stderr.lines().last().unwrap(), parts);
}

fn with_arguments<S: Into<OsString>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    let mut command = resound();
    command.args(arguments.into_iter().map(Into::into));
    run(command)
}

#[track_caller]
fn assert_usage_of(arguments: &[&str], parts: &[&str]) {
    println!("resound {arguments:?}");
    assert_usage(&with_arguments(arguments), parts);
}

#[test]
fn a_command_line_without_a_known_command_is_refused_with_the_list_of_commands() {
    assert_usage_of(&[], &["no command given", "serve, bench, sweep, compare, merge, ping, send"]);
    assert_usage_of(&["frobnicate"], &["'frobnicate'", "--help"]);
    assert_usage_of(&[""], &["''", "--help"]);
    assert_usage_of(&["--frobnicate"], &["'--frobnicate'", "--help"]);
    assert_usage_of(&["Serve"], &["'Serve'", "--help"]);
}

/// case X9: one of the endpoints is a path of more than 107 bytes.
#[test]
fn a_wrong_endpoint_is_refused_with_the_fault_and_an_example() {
    let long_path = format!("unix:/{}", "x".repeat(107));
    let long_name = format!("unixgram:@{}", "x".repeat(108));
    let long_host = format!("tcp://{}:7", "x".repeat(256));
    for (endpoint, wrong) in [
        ("", "an empty endpoint"),
        ("7007", "'7007' has no scheme and no port"),
        ("localhost", "'localhost' has no scheme and no port"),
        ("/tmp/echo.sock", "has no scheme and no port"),
        ("http://localhost:80", "unknown scheme 'http'"),
        ("TCP://localhost:80", "unknown scheme 'TCP'"),
        ("://localhost:80", "unknown scheme ''"),
        ("tcp:127.0.0.1:7", "'//' is missing"),
        ("udp:7", "'//' is missing"),
        ("tcp://", "no host and no port"),
        ("tcp://a:b", "'b' is not a port"),
        ("tcp://a:", "'' is not a port"),
        ("tcp://a:65536", "'65536' is not a port"),
        ("tcp://a:-1", "'-1' is not a port"),
        ("tcp://a:+7", "'+7' is not a port"),
        ("tcp://a:0x7", "'0x7' is not a port"),
        ("tcp://a:99999999999999999999", "is not a port"),
        ("tcp://::1:7", "an IPv6 address without brackets"),
        ("::1", "an IPv6 address without brackets"),
        ("tcp://[::1:7", "'[' without ']'"),
        ("tcp://[::1]7", "'7' after ']'"),
        ("tcp://[1.2.3.4]:7", "'[1.2.3.4]' is not an IPv6 address"),
        ("tcp://[fe80::1%]:7", "is not an IPv6 address"),
        ("tcp://a b:7", "'a b' is not a host"),
        ("tcp://user@a:7", "is not a host"),
        ("udp://a/b:7", "is not a host"),
        ("tcp://127.0.0.1:7/", "is not a port"),
        ("unix:", "no path"),
        ("unix:@", "no path"),
        ("unix://relative", "no absolute path"),
        ("unixgram://", "no absolute path"),
        ("unix:a\nb", "control character"),
        ("unix:a\u{1b}[2J", "control character"),
        (&long_path, "a path of 108 bytes"),
        (&long_name, "a path of 108 bytes"),
        (&long_host, "a host of 256 bytes"),
    ] {
        let parts = [wrong, "; expected ", "as in "];
        assert_usage_of(&["serve", endpoint], &parts);
        assert_usage_of(&["serve", "tcp://127.0.0.1:0", endpoint], &parts);
        assert_usage_of(&["send", endpoint, "hello"], &parts);
        assert_usage_of(&["ping", endpoint], &parts);
    }
}

/// case B12: for `serve` and `send`: zero, and numbers that fit in no integer.
#[test]
fn a_wrong_number_is_named_with_its_flag_and_an_example() {
    let huge = "9".repeat(30);
    let counts = ["--backlog", "--max-connections"];
    let times = ["--idle-timeout", "--stall-timeout", "--drain-timeout", "--stats"];
    for value in ["", "0", "999ms", "32768s", "on", "Off", &huge] {
        let expected = "expected a time from 1s to 32767s, such as 60s, or system or off";
        assert_usage_of(&["serve", "--keepalive", value], &["--keepalive", expected]);
    }
    let sizes = ["--rcvbuf", "--sndbuf"];
    for value in ["", "x", "1e3", "0x10", "1.5", "10 k", "١٠", "½", &huge] {
        for flag in counts {
            assert_usage_of(&["serve", flag, value], &[flag, "expected a count such as 250"]);
        }
    }
    for value in ["", "x", "1 s", "1.2.3s", "1y", &huge] {
        for flag in times {
            assert_usage_of(&["serve", flag, value], &[flag, "expected a time such as 200us"]);
        }
        let arguments = ["send", "tcp://127.0.0.1:1", "--timeout", value];
        assert_usage_of(&arguments, &["--timeout", "expected a time such as 200us"]);
    }
    for value in ["", "x", "1.3", "64KiBs", &huge] {
        for flag in sizes {
            assert_usage_of(&["serve", flag, value], &[flag, "expected a size such as 512"]);
        }
    }
    for flag in counts {
        assert_usage_of(&["serve", flag, "0"], &[flag, "of at least 1, such as"]);
    }
    for flag in &times[..2] {
        assert_usage_of(&["serve", flag, "0s"], &[flag, "expected a time above 0, such as"]);
    }
    assert_usage_of(&["serve", "--stats", "0"], &["--stats", "expected a time above 0"]);
    for value in ["0", "3GiB"] {
        for flag in sizes {
            assert_usage_of(&["serve", flag, value], &[flag, "expected a size from 1 to"]);
        }
    }
    for value in ["", "8", "0o600", "1000", "-1", "+600", "rw"] {
        let parts = ["--unix-mode", "expected an octal mode", "such as 0660"];
        assert_usage_of(&["serve", &format!("--unix-mode={value}")], &parts);
    }
}

/// `-1` is also the short form of `--one-off`.
#[test]
fn a_negative_number_is_a_wrong_number_and_not_a_flag() {
    for (flag, expected) in [
        ("--backlog", "expected a count such as 250"),
        ("--idle-timeout", "expected a time such as 200us"),
        ("--rcvbuf", "expected a size such as 512"),
    ] {
        let parts = ["'-1'", flag, expected, "resound serve --help"];
        assert_usage_of(&["serve", flag, "-1"], &parts);
        assert_usage_of(&["serve", &format!("{flag}=-1")], &parts);
    }
    assert_usage_of(&["send", "tcp://a:1", "--timeout", "-1s"], &["'-1s'", "expected a time"]);
}

#[test]
fn a_wrong_flag_or_mix_of_flags_is_named() {
    let endpoint = "tcp://127.0.0.1:1";
    assert_usage_of(&["serve", "--frobnicate"], &["'--frobnicate'", "resound serve --help"]);
    assert_usage_of(&["send", "--frobnicate=1", endpoint], &["'--frobnicate'"]);
    assert_usage_of(&["serve", "-x"], &["'-x'"]);
    assert_usage_of(&["serve", "--reply"], &["--reply", "value"]);
    assert_usage_of(&["serve", "--backlog"], &["--backlog", "value", "resound serve --help"]);
    assert_usage_of(&["serve", "--discard=yes"], &["--discard", "yes"]);
    assert_usage_of(&["serve", "--backlog", "1", "--backlog", "2"], &["--backlog", "multiple"]);
    assert_usage_of(&["serve", "--reply", "x", "--discard"], &["--reply", "--discard"]);
    assert_usage_of(&["serve", "-v", "-q"], &["--verbose", "--quiet"]);
    assert_usage_of(&["send"], &["<ENDPOINT>", "resound send --help"]);
    assert_usage_of(&["send", endpoint, "one", "two"], &["'two'"]);
    for short in ["0", "1ns", "999us"] {
        let parts = ["--timeout", "expected a time of at least 1ms, such as 500ms"];
        assert_usage_of(&["send", endpoint, "--timeout", short], &parts);
    }
}

#[test]
fn an_argument_that_is_not_utf_8_is_refused_where_text_is_expected() {
    let not_utf_8 = || OsString::from_vec(b"tcp://\xff\xfe:7".to_vec());
    assert_usage(&with_arguments([OsString::from("serve"), not_utf_8()]), &["UTF-8"]);
    assert_usage(&with_arguments([OsString::from("send"), not_utf_8()]), &["UTF-8"]);
    assert_usage(&with_arguments([not_utf_8()]), &["resound --help"]);
    let reply = ["serve", "--reply"].map(OsString::from).into_iter().chain([not_utf_8()]);
    assert_usage(&with_arguments(reply), &["UTF-8"]);
}

/// case P6: at every place of an argument.
#[test]
fn a_hundred_kilobytes_of_random_bytes_are_refused_in_one_short_line() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |bytes: usize, only_text: bool| {
        let mut made = Vec::with_capacity(bytes);
        while made.len() < bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let byte = state.to_le_bytes()[3];
            // An argument ends at a zero byte.
            made.extend((byte != 0).then_some(if only_text { byte & 0x7f | 1 } else { byte }));
        }
        made
    };
    for round in 0..8 {
        let mut garbage = random(100_000, round % 2 == 0);
        if round % 4 < 2 {
            garbage.splice(..0, b"tcp://".iter().copied());
        }
        let garbage = OsString::from_vec(garbage);
        for place in [
            vec![],
            vec!["serve"],
            vec!["send"],
            vec!["ping"],
            vec!["ping", "--length"],
            vec!["serve", "--backlog"],
            vec!["serve", "--idle-timeout"],
            vec!["serve", "--rcvbuf"],
            vec!["serve", "--unix-mode"],
            vec!["send", "tcp://127.0.0.1:1", "--timeout"],
        ] {
            let arguments = place.into_iter().map(OsString::from).chain([garbage.clone()]);
            assert_usage(&with_arguments(arguments), &[]);
        }
    }
}

/// case U17
#[test]
fn a_busy_port_is_named() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for busy in [
        format!("tcp://{}", tcp.local_addr().unwrap()),
        format!("udp://{}", udp.local_addr().unwrap()),
    ] {
        let parts = ["cannot bind", &busy, "address in use", "pick another"];
        assert_not_started(&with_arguments(["serve", &busy]), &parts);
        let among_others = ["serve", "tcp://127.0.0.1:0", "udp://127.0.0.1:0", &busy];
        assert_not_started(&with_arguments(among_others), &parts);
    }
}

#[test]
fn an_address_of_another_machine_is_named() {
    // A documentation address (RFC 5737). Its network may still be in use on this machine.
    for endpoint in ["tcp://203.0.113.1:0", "udp://203.0.113.1:0"] {
        let parts = ["cannot bind", endpoint, "address not available", "this machine"];
        assert_not_started(&with_arguments(["serve", endpoint]), &parts);
    }
    for endpoint in ["tcp://no-such-host.invalid:0", "udp://no-such-host.invalid:0"] {
        let parts = ["cannot bind", endpoint, "no such host"];
        assert_not_started(&with_arguments(["serve", endpoint]), &parts);
    }
}

#[test]
fn an_ipv4_mapped_ipv6_address_is_refused_with_a_hint() {
    if UdpSocket::bind("[::1]:0").is_err() {
        crate::support::skip("this system has no ::1");
        return;
    }
    for endpoint in ["tcp://[::ffff:127.0.0.1]:0", "udp://[::ffff:127.0.0.1]:0"] {
        let parts = ["cannot bind", "write an IPv4 address as such, not inside an IPv6 one"];
        assert_not_started(&with_arguments(["serve", endpoint]), &parts);
    }
}

#[test]
fn a_unix_name_given_twice_is_named_without_blaming_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("unix:{}/echo", folder.path().display());
    let name = format!("unix:{}", abstract_name("twice"));
    for (endpoint, hint) in [
        (&path, "a socket with this path is open already"),
        (&name, "another socket has this name"),
    ] {
        let ended = with_arguments(["serve", endpoint, endpoint]);
        assert_not_started(&ended, &["cannot bind", endpoint, "address in use", hint]);
    }
}

#[test]
fn an_unknown_congestion_algorithm_is_named_with_the_available_ones() {
    let arguments = ["serve", "--congestion", "frobnicate", "tcp://127.0.0.1:0"];
    assert_not_started(&with_arguments(arguments), &["congestion", "frobnicate"]);
}

/// case X6: faults of the path itself; `interop` tests the others.
#[test]
fn a_path_that_cannot_hold_a_socket_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let name = |path: &str| format!("{}/{path}", folder.path().display());
    for scheme in ["unix", "unixgram"] {
        for (path, reason) in [
            (name("missing/echo"), "missing does not exist"),
            (name("file"), "is not a socket"),
            (name("file/echo"), "file is not a folder"),
            (name("."), "is not a socket"),
        ] {
            let endpoint = format!("{scheme}:{path}");
            let ended = with_arguments(["serve", &endpoint]);
            assert_not_started(&ended, &["cannot bind", &endpoint, reason]);
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

/// A copy of the program that a user without privileges can run, started as that user.
struct Unprivileged {
    folder: TempDir,
}

impl Unprivileged {
    fn new() -> Unprivileged {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let program = folder.path().join("resound");
        // Another process copies the program. A program that is open for writing cannot be started,
        // and other tests may start processes that inherit an open file of this process.
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_resound")).arg(&program);
        assert_eq!(run(copy).code(), 0);
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        Unprivileged { folder }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.folder.path().join("resound"));
        if rustix::process::geteuid().is_root() {
            command.uid(UNPRIVILEGED_USER).gid(UNPRIVILEGED_USER);
        }
        command.current_dir("/");
        command
    }
}

#[test]
fn a_port_below_1024_without_its_capability_names_the_capability() {
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let start: u16 = start.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024);
    // Not the port of a well-known service, because the system may allow some of those.
    let port = 1;
    if start <= port {
        crate::support::skip(format_args!("every user may bind ports from {start} on this system"));
        return;
    }
    let user = Unprivileged::new();
    for scheme in ["tcp", "udp"] {
        let endpoint = format!("{scheme}://127.0.0.1:{port}");
        let mut command = user.command();
        command.args(["serve", &endpoint]);
        let parts = ["cannot bind", &endpoint, "permission denied", "CAP_NET_BIND_SERVICE"];
        assert_not_started(&run(command), &parts);
    }
}

#[test]
fn a_folder_without_write_permission_is_named() {
    let user = Unprivileged::new();
    let closed = user.folder.path().join("closed");
    for mode in [0o555, 0o111, 0o000] {
        let _ = fs::remove_dir(&closed);
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(mode)).unwrap();
        for scheme in ["unix", "unixgram"] {
            let endpoint = format!("{scheme}:{}/echo", closed.display());
            let mut command = user.command();
            command.args(["serve", &endpoint]);
            let ended = run(command);
            assert_not_started(&ended, &["cannot bind", &endpoint, "permission denied"]);
        }
    }
}

/// The endpoints that were bound before the failing one are closed, and their files are removed.
#[test]
fn endpoints_bound_before_a_failing_one_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Daemon::start(&["udp://127.0.0.1:0"]);
    let ended = with_arguments([
        "serve".to_owned(),
        format!("unix:{}/one", folder.path().display()),
        format!("unixgram:{}/two", folder.path().display()),
        owner.endpoints[0].clone(),
    ]);
    assert_not_started(&ended, &["cannot bind", &owner.endpoints[0], "address in use"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
