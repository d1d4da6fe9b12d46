//! `serve --metrics` from outside: the metrics equal the counts, and the requests that get them.

mod limits;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::{Daemon, WAIT_MAX, echo, python, resound, run, wait_until};

struct Observed {
    daemon: Daemon,
    /// The address of the metrics.
    addr: SocketAddr,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Observed {
    #[track_caller]
    fn start(arguments: &[&str]) -> Observed {
        Observed::start_at("127.0.0.1:0", arguments)
    }

    #[track_caller]
    fn start_at(host_port: &str, arguments: &[&str]) -> Observed {
        let mut command = resound();
        command.args(["serve", "--metrics", host_port]).args(arguments);
        Observed::start_command(command)
    }

    #[track_caller]
    fn start_command(mut command: Command) -> Observed {
        command.env_remove("RUST_LOG");
        let daemon = Daemon::start_command(command);
        let mut addr = None;
        // A separate thread writes the log.
        wait_until("the address of the metrics", || {
            let log = daemon.process.stderr_text();
            let url = log.split_once("metrics at http://");
            addr = url.and_then(|(_, rest)| rest.split_once("/metrics")?.0.parse().ok());
            addr.is_some()
        });
        Observed { addr: addr.expect("the wait above returns after a match"), daemon }
    }

    #[track_caller]
    fn metrics(&self) -> Metrics {
        let response = get(self.addr, "/metrics");
        assert_eq!(response.status, 200, "{response:?}");
        Metrics::of(&response.body)
    }

    #[track_caller]
    fn assert_healthy(&self) {
        let response = get(self.addr, "/healthz");
        assert_eq!((response.status, response.body.as_str()), (200, "ok\n"));
    }

    fn descriptors(&self) -> usize {
        let pid = self.daemon.process.pid().as_raw_nonzero();
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
    }
}

pub fn connect(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect_timeout(&addr, WAIT_MAX).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client
}

/// Sends a request unchanged and reads to the end.
#[track_caller]
fn ask(addr: SocketAddr, request: &str) -> Response {
    let mut client = connect(addr);
    client.write_all(request.as_bytes()).unwrap();
    response_to(client)
}

#[track_caller]
fn response_to(mut client: TcpStream) -> Response {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)).unwrap();
    Response { status: status.parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

#[track_caller]
pub fn get(addr: SocketAddr, path: &str) -> Response {
    ask(addr, &format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n"))
}

/// The samples of a page, by name and labels as the page has them.
#[derive(Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    #[track_caller]
    pub fn of(page: &str) -> Metrics {
        let samples = page.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Metrics(samples.collect())
    }

    #[track_caller]
    pub fn get(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Sums the samples whose name and labels begin with `beginning` and contain `label`.
    fn sum(&self, beginning: &str, label: &str) -> f64 {
        let of = |name: &String| name.starts_with(beginning) && name.contains(label);
        self.0.iter().filter(|(name, _)| of(name)).map(|(_, value)| value).sum()
    }
}

/// Makes traffic on each transport for every counter, and a stream that is reset.
fn exchange_on(daemon: &Daemon, folder: &Path) {
    (0..3).for_each(|_| echo(&mut connect(daemon.addr(0))));
    let reset = connect(daemon.addr(0));
    rustix::net::sockopt::set_socket_linger(&reset, Some(std::time::Duration::ZERO)).unwrap();
    drop(reset);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(daemon.addr(1)).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    for size in [0, 5, 500] {
        client.send(&vec![7; size]).unwrap();
        assert_eq!(client.recv(&mut [0; 600]).unwrap(), size);
    }
    echo(&mut UnixStream::connect(folder.join("stream")).unwrap());
    // The server cannot answer a sender without a name.
    UnixDatagram::unbound().unwrap().send_to(b"who", folder.join("datagram")).unwrap();
}

/// Returns the metric for a name in the `stats` line, summed where that line sums.
fn metric_for(metrics: &Metrics, name: &str) -> f64 {
    if name == "connections_open" {
        return metrics.get("resound_connections_open");
    }
    let figures = [
        ("_messages_in", "resound_received_messages_total"),
        ("_bytes_in", "resound_received_bytes_total"),
        ("_messages_out", "resound_sent_messages_total"),
        ("_bytes_out", "resound_sent_bytes_total"),
        ("_bytes_spliced", "resound_spliced_bytes_total"),
    ];
    for (end, figure) in figures {
        if let Some(transport) = name.strip_suffix(end) {
            return metrics.get(&format!("{figure}{{transport=\"{transport}\"}}"));
        }
    }
    if name == "accepted" {
        return metrics.sum("resound_accepted_connections_total{", "transport=");
    }
    let of_cause =
        ["unserved_connections", "closed_connections", "dropped_datagrams", "datagram_incidents"];
    let count = |family: &str| {
        metrics.sum(&format!("resound_{family}_total{{"), &format!("cause=\"{name}\""))
    };
    of_cause.into_iter().map(count).sum()
}

#[test]
fn every_count_of_the_last_line_is_a_metric_with_the_same_value() {
    for threads in ["1", "2"] {
        let folder = tempfile::tempdir().unwrap();
        let unix = ["unix:", "unixgram:"].map(|scheme| {
            let name = if scheme == "unix:" { "stream" } else { "datagram" };
            format!("{scheme}{}", folder.path().join(name).display())
        });
        let endpoints = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", &unix[0], &unix[1]];
        let observed = Observed::start(&[&["--threads", threads], &endpoints[..]].concat());
        exchange_on(&observed.daemon, folder.path());
        wait_until("all to be counted", || {
            let metrics = observed.metrics();
            metric_for(&metrics, "connections_open") == 0.0
                && metric_for(&metrics, "accepted") == 5.0
                && metric_for(&metrics, "unnamed") == 1.0
        });
        let metrics = observed.metrics();
        let ended = observed.daemon.stop();
        let line = ended.stderr.lines().find_map(|line| line.strip_prefix("stats "));
        let mut words = 0;
        for word in line.unwrap().split(' ') {
            let (name, value) = word.split_once('=').unwrap();
            if name != "uptime_s" {
                assert_eq!(metric_for(&metrics, name), value.parse::<f64>().unwrap(), "{name}");
                words += 1;
            }
        }
        // Each of the four transports has four of its counts; the others are causes.
        assert!(words >= 1 + 4 * 4 + 3, "{line:?}");
    }
}

#[test]
fn the_process_metrics_equal_the_values_of_the_system() {
    let observed = Observed::start(&["tcp://127.0.0.1:0", "--max-connections", "77"]);
    let pid = observed.daemon.process.pid().as_raw_nonzero();
    observed.assert_healthy();
    wait_until("the connections before to be gone, and no more than one since", || {
        let metrics = observed.metrics();
        // The connection of the scrape is open when the server counts, and may be closed when the
        // test counts.
        let after = observed.descriptors() as f64;
        [0.0, 1.0].contains(&(metrics.get("process_open_fds") - after))
    });
    let metrics = observed.metrics();
    assert_eq!(metrics.get("resound_connections_max"), 77.0);
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let soft: f64 = limit.split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(metrics.get("process_max_fds"), soft);
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    let kib: f64 = kib.trim().trim_end_matches(" kB").parse().unwrap();
    let resident = metrics.get("process_resident_memory_bytes");
    let ratio = resident / (kib * 1024.0);
    assert!((0.5..2.0).contains(&ratio), "{resident}, and {kib} KiB");
    assert!(metrics.get("process_cpu_seconds_total") > 0.0);
    let started = metrics.get("process_start_time_seconds");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - 2.0 * WAIT_MAX.as_secs_f64()..=now).contains(&started), "{started} of {now}");
    assert_eq!(metrics.sum("resound_build_info{", env!("CARGO_PKG_VERSION")), 1.0);
}

/// Returns a Python that can import the library. The test fails if it is missing where tools are
/// required.
fn python_with_library() -> Option<&'static str> {
    let can_import = |python: &&str| {
        let import = Command::new(python).args(["-c", "import prometheus_client"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    // Debian's package belongs to Debian's Python, which may not be the first in PATH.
    let found = ["python3", "/usr/bin/python3"].into_iter().find(can_import);
    if found.is_none() {
        let is_required = std::env::var_os("RESOUND_REQUIRE_TOOLS").is_some();
        assert!(!is_required, "python3-prometheus-client is not installed");
        crate::support::skip("python3-prometheus-client is not installed");
    }
    found
}

#[test]
fn python_reads_both_formats_and_so_does_the_library_of_prometheus() {
    let observed = Observed::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "--threads", "2"]);
    echo(&mut connect(observed.daemon.addr(0)));
    // From here on, nothing happens except that the loops are asked for their counters.
    wait_until("the client's end", || observed.metrics().get("resound_connections_open") == 0.0);
    let url = format!("http://{}", observed.addr);
    let mut command = python("scrape.py");
    command.arg(&url);
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stdout_text().starts_with("read "), "{}", ended.stdout_text());

    let Some(library) = python_with_library() else { return };
    let script = python("scrape.py");
    let mut command = Command::new(library);
    command.args(script.get_args()).args([&url, "--parse"]);
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let parsed = ended.stdout_text().matches("parsed 4 histograms, ").count();
    assert_eq!(parsed, 2, "{}", ended.stdout_text());
}

#[test]
fn a_scrape_includes_all_that_was_answered_before_it() {
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    let is_over = AtomicBool::new(false);
    let deadline = Instant::now() + WAIT_MAX;
    thread::scope(|scope| {
        // This keeps a request pending that is older than the next echo.
        let others = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) && Instant::now() < deadline {
                observed.assert_healthy();
            }
        });
        let mut client = connect(observed.daemon.addr(0));
        for echoes in 1..=200 {
            echo(&mut client);
            let metrics = observed.metrics();
            assert_eq!(
                metrics.get("resound_sent_bytes_total{transport=\"tcp\"}"),
                4.0 * f64::from(echoes)
            );
            assert_eq!(metrics.get("resound_connections_open"), 1.0);
        }
        is_over.store(true, Ordering::Relaxed);
        others.join().unwrap();
    });
}

/// A load balancer must not send clients to a closed port.
#[test]
fn a_drain_is_shown_by_a_health_of_503_and_by_a_gauge() {
    for flags in [&[][..], &["--threads", "2"]] {
        let endpoint = ["tcp://127.0.0.1:0", "--drain-timeout", "10m"];
        let observed = Observed::start(&[&endpoint, flags].concat());
        assert_eq!(observed.metrics().get("resound_draining"), 0.0);
        let mut peer = connect(observed.daemon.addr(0));
        echo(&mut peer);
        observed.daemon.process.signal(Signal::TERM);
        wait_until("the drain", || observed.daemon.process.stderr_text().contains("draining"));
        let health = get(observed.addr, "/healthz");
        assert_eq!((health.status, health.body.as_str()), (503, "draining\n"));
        assert_eq!(observed.metrics().get("resound_draining"), 1.0);
        echo(&mut peer);
        drop(peer);
        assert_eq!(observed.daemon.process.wait().code(), 0);
    }
}

#[test]
fn the_format_is_the_one_with_the_greater_weight_in_the_request() {
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    for (accept, kind) in [
        ("application/openmetrics-text;version=1.0.0;q=0,text/plain", "text/plain"),
        ("application/openmetrics-text;q=0.5,text/plain;version=0.0.4;q=0.6", "text/plain"),
        ("application/openmetrics-text;q=0.6,text/plain;q=0.5", "application/openmetrics-text"),
        ("application/openmetrics-text;q=x,*/*;q=0.1", "text/plain"),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nAccept: {accept}\r\n\r\n");
        let response = ask(observed.addr, &request);
        let content_type = format!("Content-Type: {kind};");
        assert!(response.head.contains(&content_type), "{accept}: {}", response.head);
    }
}

#[test]
fn a_drain_is_observed_to_its_end_and_no_count_decreases() {
    let arguments = ["--threads", "2", "--drain-timeout", "10m", "tcp://127.0.0.1:0"];
    let observed = Observed::start(&arguments);
    let mut clients: Vec<_> = (0..32).map(|_| connect(observed.daemon.addr(0))).collect();
    clients.iter_mut().for_each(echo);
    clients.truncate(1);
    observed.daemon.process.signal(Signal::TERM);
    let turns = |metrics: &Metrics| {
        ["0", "1"]
            .map(|index| metrics.get(&format!("resound_loop_turns_total{{loop=\"{index}\"}}")))
    };
    let mut before = turns(&observed.metrics());
    wait_until("the end of the loop without a client", || {
        let metrics = observed.metrics();
        assert_eq!(metrics.get("resound_received_bytes_total{transport=\"tcp\"}"), 128.0);
        let now = turns(&metrics);
        let has_stopped = [now[0] == before[0], now[1] == before[1]];
        before = now;
        has_stopped[0] != has_stopped[1]
    });
    assert_eq!(get(observed.addr, "/healthz").body, "draining\n");
    echo(&mut clients[0]);
    // An unfinished request, for which the process does not wait.
    let mut pending = connect(observed.addr);
    pending.write_all(b"GET /metrics HTTP").unwrap();
    drop(clients);
    let ended = observed.daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(TcpStream::connect(observed.addr).is_err());
}

#[test]
fn stdout_has_one_line_per_endpoint_and_the_log_names_the_address_of_the_metrics() {
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    let stdout = observed.daemon.process.stdout_text();
    assert_eq!(stdout, format!("listening tcp://{}\n", observed.daemon.addr(0)));
    assert_ne!(observed.addr.port(), 0);
    let log = observed.daemon.process.stderr_text();
    assert!(!log.contains("reached from other hosts"), "{log}");
}

#[test]
fn an_empty_host_is_every_interface_on_one_port_with_one_warning() {
    for (host_port, hosts) in [(":0", &["127.0.0.1", "[::1]"][..]), ("0.0.0.0:0", &["127.0.0.1"])] {
        let observed = Observed::start_at(host_port, &["tcp://127.0.0.1:0"]);
        for host in hosts {
            let addr = format!("{host}:{}", observed.addr.port()).parse().unwrap();
            assert_eq!(get(addr, "/healthz").status, 200, "{host}");
        }
        let ended = observed.daemon.stop();
        let warnings = ended.stderr.matches("the metrics can be reached from other hosts").count();
        assert_eq!(warnings, 1, "{}", ended.stderr);
    }
}

#[test]
fn without_the_flag_there_is_no_metrics_thread() {
    let threads = |daemon: &Daemon| {
        let tasks = format!("/proc/{}/task", daemon.process.pid().as_raw_nonzero());
        let tasks = fs::read_dir(tasks).unwrap();
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
        let names: Vec<String> = tasks.filter_map(|task| name(task.unwrap())).collect();
        names.iter().filter(|name| name.starts_with("metrics")).count()
    };
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    assert_eq!(threads(&daemon), 0);
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    // A thread sets its name when it starts to run.
    wait_until("its thread", || threads(&observed.daemon) == 1);
}

#[test]
fn a_wrong_address_is_one_line_and_exit_code_2() {
    for wrong in
        ["", "9100", "localhost", "tcp://127.0.0.1:1", "127.0.0.1:65536", "unix:/a", "a b:1"]
    {
        let mut command = resound();
        command.args(["serve", "--metrics", wrong]);
        let ended = run(command);
        assert_eq!((ended.code(), ended.stdout.len()), (2, 0), "{wrong:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        for part in ["'--metrics <HOST:PORT>'", "expected HOST:PORT, such as 127.0.0.1:9100"] {
            assert!(ended.stderr.contains(part), "{wrong:?}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_port_in_use_is_reported_before_the_server_listens() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let mut command = resound();
    command.args(["serve", "--metrics", &addr.to_string(), "tcp://127.0.0.1:0"]);
    let ended = run(command);
    assert_eq!((ended.code(), ended.stdout.len()), (1, 0), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(
        last.starts_with(&format!("resound: cannot bind tcp://{addr}: address in use")),
        "{last}"
    );
}
