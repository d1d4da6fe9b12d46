//! Accepting: bursts, the connection limit, running out of descriptors.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit};

use crate::support::{Daemon, WAIT_MAX, python, resound, run, tool, wait_until};

/// Connects a client that has sent its message.
fn client(daemon: &Daemon) -> TcpStream {
    let mut client = TcpStream::connect_timeout(&daemon.addr(0), WAIT_MAX).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client.write_all(b"ping").unwrap();
    client
}

#[track_caller]
fn read_echo(client: &mut TcpStream) {
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

#[track_caller]
fn echo(client: &mut TcpStream) {
    client.write_all(b"ping").unwrap();
    read_echo(client);
}

/// Waits for a log line with these words. A separate thread writes the log.
#[track_caller]
fn wait_for_log(daemon: &Daemon, words: &str) {
    wait_until(words, || {
        let log = daemon.process.stderr_text();
        log.split_once(words).is_some_and(|(_, rest)| rest.contains('\n'))
    });
}

/// Returns a command: a shell that sets a descriptor limit and then becomes `resound serve`.
pub fn serve_with_limit(ulimit: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit {ulimit} && exec \"$0\" serve \"$@\"");
    command.args(["-c", &script]).arg(resound().get_program()).args(arguments);
    command
}

/// Returns the soft and the hard descriptor limit of a process.
fn limits(pid: Pid) -> (String, String) {
    let text = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut words = line.split_whitespace().skip(3).map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

fn set_soft_limit(pid: Pid, limit: usize) {
    let mut command = Command::new("prlimit");
    command.arg(format!("--pid={}", pid.as_raw_nonzero())).arg(format!("--nofile={limit}:"));
    assert_eq!(run(command).code(), 0);
}

/// Returns the CPU time of a process so far.
pub fn cpu_time(pid: Pid) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    let (_, words) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = words.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    // USER_HZ is 100 on every system that the test runs on.
    Duration::from_millis(ticks * 10)
}

/// Returns the highest open descriptor of a process.
fn highest_descriptor(pid: Pid) -> usize {
    let folder = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
    let number = |entry: fs::DirEntry| entry.file_name().to_str().unwrap().parse::<usize>();
    folder.map(|entry| number(entry.unwrap()).unwrap()).max().unwrap()
}

/// case A9: a client whose SYN is retransmitted waits at least one second.
#[test]
fn a_burst_of_4000_connects_is_served_without_a_retransmit() {
    const COUNT: u64 = 4000;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|hard| hard < COUNT + 100) {
        crate::support::skip(format_args!("the hard descriptor limit is {maximum:?}"));
        return;
    }
    let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    if somaxconn.trim().parse::<u64>().unwrap() < COUNT {
        crate::support::skip(format_args!("net.core.somaxconn is {somaxconn}"));
        return;
    }
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let addr = daemon.addr(0);
    let mut burst = python("connect_burst.py");
    burst.args([addr.ip().to_string(), addr.port().to_string(), COUNT.to_string()]);
    let ended = run(burst);
    assert_eq!(ended.stdout_text(), "echoed=4000 retransmits=0\n", "{}", ended.stderr);
    assert_eq!(daemon.counters().get("accepted"), COUNT);
}

/// case A5
#[test]
fn clients_beyond_max_connections_wait_and_are_served_when_others_leave() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--max-connections", "2"]);
    let mut first = client(&daemon);
    let mut second = client(&daemon);
    read_echo(&mut first);
    read_echo(&mut second);
    let mut waiting: Vec<_> = (0..10).map(|_| client(&daemon)).collect();
    wait_for_log(&daemon, "the limit: further clients wait");
    assert_eq!(daemon.counters().get("accepted"), 2);
    echo(&mut second);
    drop(first);
    for mut client in waiting.drain(..) {
        read_echo(&mut client);
        assert_eq!(daemon.counters().get("connections_open"), 2);
    }
    echo(&mut second);
}

/// case P5
#[test]
fn a_low_soft_descriptor_limit_is_raised_to_the_hard_one() {
    let daemon = Daemon::start_command(serve_with_limit("-S -n 64", &["tcp://127.0.0.1:0"]));
    let (soft, hard) = limits(daemon.process.pid());
    assert_eq!(soft, hard);
    assert!(hard == "unlimited" || hard.parse::<u64>().unwrap() > 64);
    wait_for_log(&daemon, "descriptor limit raised from 64 to");
    let mut clients: Vec<_> = (0..100).map(|_| client(&daemon)).collect();
    clients.iter_mut().for_each(read_echo);
    assert_eq!(daemon.counters().get("connections_open"), 100);
}

/// case P5: with the suggested limit or the suggested count there are enough descriptors.
#[test]
fn too_many_loops_for_the_descriptor_limit_are_warned_of_with_a_limit_and_a_count_that_suffice() {
    let arguments = ["tcp://127.0.0.1:0", "--threads", "20"];
    let daemon = Daemon::start_command(serve_with_limit("-n 300", &arguments));
    wait_for_log(&daemon, "leaves none for connections");
    let log = daemon.process.stderr_text();
    let number = |behind: &str| -> u64 {
        let (_, rest) = log.split_once(behind).unwrap_or_else(|| panic!("{behind:?}: {log}"));
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
        rest[..end].parse().unwrap()
    };
    let (needed, limit, threads) =
        (number("expected more than "), number("'ulimit -n "), number("or --threads "));
    assert!(limit > needed && needed > 300, "{log}");
    drop(daemon);
    let threads = threads.to_string();
    let arguments = ["tcp://127.0.0.1:0", "--threads", &threads];
    let daemon = Daemon::start_command(serve_with_limit("-n 300", &arguments));
    wait_for_log(&daemon, "at most ");
    assert!(!daemon.process.stderr_text().contains("leaves none"), "{threads} are too many");
}

#[test]
fn a_loop_that_cannot_start_without_descriptors_is_reported_with_its_flag() {
    let ended = run(serve_with_limit("-n 100", &["--threads", "50"]));
    assert_eq!(ended.code(), 1);
    let line = ended.stderr.lines().last().unwrap();
    assert!(line.contains("too many open files") && line.contains("--threads"), "{line}");
}

/// cases P5, A5: 100 clients of a process whose descriptor limit is 64.
#[test]
fn a_connection_limit_above_the_hard_descriptor_limit_is_clamped_with_a_warning() {
    let command = serve_with_limit("-n 64", &["tcp://127.0.0.1:0", "--max-connections", "1000"]);
    let daemon = Daemon::start_command(command);
    let prefix = "beyond the descriptor limit 64: using ";
    wait_for_log(&daemon, prefix);
    let log = daemon.process.stderr_text();
    let most: usize = log.split_once(prefix).unwrap().1.lines().next().unwrap().parse().unwrap();
    assert!((16..64).contains(&most), "{most}");

    let mut waiting: Vec<_> = (0..100).map(|_| client(&daemon)).collect();
    let mut served: Vec<_> = waiting.drain(..most).collect();
    served.iter_mut().for_each(read_echo);
    assert_eq!(daemon.counters().get("connections_open"), most as u64);
    for mut client in waiting {
        drop(served.pop());
        read_echo(&mut client);
        served.push(client);
    }
    let counters = daemon.counters();
    assert_eq!((counters.get("accepted"), counters.get("accept_no_descriptor")), (100, 0));
}

#[test]
fn the_default_connection_limit_is_logged() {
    let daemon = Daemon::start_command(serve_with_limit("-n 64", &["tcp://127.0.0.1:0"]));
    wait_for_log(&daemon, "connections (descriptor limit 64)");
}

/// case A3: the limit of the running process is lowered below the number of its open descriptors,
/// so that even the spare descriptor cannot be reopened, and then raised again.
#[test]
fn without_descriptors_connected_peers_are_served_and_queued_peers_later() {
    const QUEUED: usize = 20;
    if tool("prlimit").is_none() {
        return;
    }
    let mut daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let pid = daemon.process.pid();
    let mut established: Vec<_> = (0..3).map(|_| client(&daemon)).collect();
    established.iter_mut().for_each(read_echo);
    let (soft, _) = limits(pid);

    let lowered_at = Instant::now();
    set_soft_limit(pid, 4);
    let mut queued: Vec<_> = (0..QUEUED).map(|_| client(&daemon)).collect();
    let refusals = || daemon.counters().get("accept_no_descriptor");
    wait_until("accept without descriptors", || refusals() > 0);

    // No new client connects in this time. A timer causes every attempt, at most ten per second.
    let (begun, cpu_before) = (Instant::now(), cpu_time(pid));
    let before = refusals();
    let mut now = before;
    wait_until("some retries", || {
        established.iter_mut().for_each(echo);
        now = refusals();
        now >= before + 8
    });
    let elapsed = begun.elapsed();
    let cpu = cpu_time(pid) - cpu_before;
    assert!(u128::from(now - before) <= elapsed.as_millis() / 100 + 2, "{elapsed:?}");
    assert!(cpu <= elapsed / 2, "{cpu:?} of CPU time in {elapsed:?}: the loop spins");

    set_soft_limit(pid, soft.parse().unwrap());
    queued.iter_mut().for_each(read_echo);
    established.iter_mut().for_each(echo);
    assert_eq!(daemon.counters().get("shed"), 0);
    let log = daemon.process.stderr_text();
    let lines = log.matches("accepting pauses").count() as u64;
    assert!((1..=lowered_at.elapsed().as_secs() + 1).contains(&lines), "{lines} lines: {log}");

    // The spare descriptor is reserved again, so the server sheds the next client.
    set_soft_limit(pid, highest_descriptor(pid) + 1);
    let mut clients = Vec::new();
    wait_until("a client to be shed", || {
        clients.push(client(&daemon));
        daemon.counters().get("shed") > 0
    });
    established.iter_mut().for_each(echo);
    assert!(daemon.process.is_running());
}

/// case A3: two loops run out of descriptors at once. While one loop has released its spare
/// descriptor to shed a client, the other must not take it. Otherwise no loop could shed clients
/// from then on, and new clients would wait.
#[test]
fn two_loops_without_descriptors_both_keep_their_spare_descriptor() {
    const FREE: usize = 4;
    const CLIENTS: usize = 16;
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--threads", "2"]);
    let (pid, addr) = (daemon.process.pid(), daemon.addr(0));
    let descriptors = || {
        let folder = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
        folder.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect::<Vec<_>>()
    };
    let spare = || descriptors().iter().filter(|target| *target == Path::new("/dev/null")).count();
    let (before, spare_before) = (descriptors().len(), spare());
    // The process may have inherited descriptors with high numbers; all below the first free number
    // are in use.
    let number = |number: &usize| format!("/proc/{}/fd/{number}", pid.as_raw_nonzero());
    let first_free = (0..).find(|n| fs::symlink_metadata(number(n)).is_err()).unwrap();
    set_soft_limit(pid, first_free + FREE);
    for round in 0..8 {
        let clients = (0..CLIENTS).map(|_| thread::spawn(move || is_served(addr)));
        let clients: Vec<_> = clients.collect();
        let kept: Vec<_> =
            clients.into_iter().filter_map(|client| client.join().unwrap()).collect();
        assert!((1..=FREE).contains(&kept.len()), "round {round}: {} were served", kept.len());
        // A loop may have released its spare for a moment when the test looks; a spare that another
        // loop took stays away.
        wait_until("each loop to have its spare descriptor", || spare() == spare_before);
        drop(kept);
        wait_until("all to be closed", || descriptors().len() == before);
    }
}

/// Connects, and returns the connection if the server answers, or `None` if it closes.
fn is_served(addr: SocketAddr) -> Option<TcpStream> {
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut answer = [0; 4];
    let answered = client.write_all(b"ping").and_then(|()| client.read_exact(&mut answer));
    match answered {
        Ok(()) => Some(client),
        Err(error) => {
            assert_ne!(
                error.kind(),
                ErrorKind::WouldBlock,
                "it waits in the queue and is not shed"
            );
            None
        }
    }
}
