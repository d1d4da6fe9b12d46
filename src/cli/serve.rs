//! `resound serve`: flags to options, and the one who tells what the server does.

mod console;
mod loops;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::{ArgAction, Args};
use resound::echo::{Answer, Bound, Options};
use resound::endpoint::{Endpoint, Transport};
use resound::reactor::Spin;
use resound::socket::SocketOptions;
use resound::units::{parse_count, parse_size, parse_time, parse_time_above_zero};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use self::console::{Console, WARNING_INTERVAL};
use self::loops::{LOOPS_MAX, Loops, StopAll};
use super::outlet::Outlet;
use super::values::{CpuList, cpu_list, spin};

/// Descriptors for what is no connection: the standard streams, the selector, the stop handle, the
/// signals, the spare one, 16 for the pipes of bulk, and what libraries open for a moment.
const DESCRIPTORS_RESERVED: u64 = 32;

/// What each loop after the first has of these: the selector and a copy of it, the stop handle, the
/// signals' two ends, the spare one, 16 for the pipes of bulk.
const DESCRIPTORS_PER_LOOP: u64 = 22;

/// How long the last lines may take: somebody must be reading them.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Answer whoever asks (RFC 862) on any number and mix of endpoints.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unixgram:PATH, unix:@NAME, unixgram:@NAME
    /// [default: tcp://127.0.0.1:7007 udp://127.0.0.1:7007]
    #[arg(value_name = "ENDPOINT")]
    endpoints: Vec<Endpoint>,

    /// Answer each datagram, and each chunk read from a stream, with TEXT
    #[arg(long, value_name = "TEXT", conflicts_with = "discard")]
    reply: Option<String>,

    /// Answer nothing (RFC 863)
    #[arg(long)]
    discard: bool,

    /// Print each message to stdout with time and peer
    #[arg(long)]
    print: bool,

    /// Serve one connection, or one datagram, then exit
    #[arg(short = '1', long)]
    one_off: bool,

    /// listen(2) backlog
    #[arg(long, value_name = "N", default_value = "4096", value_parser = at_least_one)]
    backlog: u64,

    /// Stop accepting at N connections, go on when one closes [default: what the descriptor limit
    /// allows]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_connections: Option<u64>,

    /// Close a connection that moved no byte for T
    #[arg(long, value_name = "T", value_parser = parse_time_above_zero)]
    idle_timeout: Option<Duration>,

    /// Close a connection that has not taken its echo for T
    #[arg(long, value_name = "T", default_value = "30s", value_parser = parse_time_above_zero)]
    stall_timeout: Duration,

    /// On SIGTERM or SIGINT, wait up to T for peers to finish
    #[arg(long, value_name = "T", default_value = "5s", value_parser = parse_time)]
    drain_timeout: Duration,

    /// Keep polling without sleep for T after the last event: quicker answers, a busy CPU
    #[arg(long, value_name = "T|always", default_value = "0", value_parser = spin)]
    spin: Spin,

    /// Run N independent loops, each on a thread and with sockets of its own (SO_REUSEPORT); Unix
    /// endpoints live on the first
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    threads: usize,

    /// Pin each loop to a CPU, the first loop to the first one
    #[arg(long, value_name = "CPU[,CPU]", value_parser = cpu_list)]
    affinity: Option<CpuList>,

    /// Receive buffer of each socket
    #[arg(long, value_name = "SIZE", value_parser = buf_size)]
    rcvbuf: Option<usize>,

    /// Send buffer of each socket
    #[arg(long, value_name = "SIZE", value_parser = buf_size)]
    sndbuf: Option<usize>,

    /// Let TCP gather small answers (TCP_NODELAY off)
    #[arg(long)]
    nagle: bool,

    /// TCP congestion control algorithm
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,

    /// Receive and answer UDP datagrams one by one, not in trains (GRO, GSO)
    #[arg(long)]
    no_offload: bool,

    /// Copy bulk streams in place of splicing them
    #[arg(long)]
    no_splice: bool,

    /// Mode of socket files
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = octal_mode)]
    unix_mode: u32,

    /// Print the counters to stderr every T (SIGUSR1: once; at exit in any case)
    #[arg(long, value_name = "T", value_parser = parse_time_above_zero)]
    stats: Option<Duration>,

    /// Log more (twice: still more); RUST_LOG overrides
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Log warnings and errors only (twice: errors only); the counters are printed nevertheless
    #[arg(short, long, action = ArgAction::Count)]
    quiet: u8,
}

pub(super) fn at_least_one(text: &str) -> Result<u64, String> {
    match parse_count(text)? {
        0 => Err("expected a count of at least 1, such as 4096".to_owned()),
        count => Ok(count),
    }
}

pub(super) fn buf_size(text: &str) -> Result<usize, String> {
    // setsockopt(2) takes an int.
    let size = parse_size(text)?;
    match i32::try_from(size) {
        Ok(1..) => usize::try_from(size).map_err(|error| error.to_string()),
        _ => Err("expected a size from 1 to 2147483647 bytes, such as 256KiB".to_owned()),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match parse_count(text).ok().and_then(|count| usize::try_from(count).ok()) {
        Some(count @ 1..=LOOPS_MAX) => Ok(count),
        _ => Err(format!("expected a count from 1 to {LOOPS_MAX}, such as 2")),
    }
}

fn octal_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 && !text.starts_with('+') => Ok(mode),
        _ => Err("expected an octal mode from 0 to 0777, such as 0660".to_owned()),
    }
}

impl Arguments {
    fn endpoints(&self) -> Vec<Endpoint> {
        if self.endpoints.is_empty() {
            let default = ["tcp://127.0.0.1:7007", "udp://127.0.0.1:7007"];
            return default.map(|text| text.parse().expect("the default parses")).to_vec();
        }
        self.endpoints.clone()
    }

    /// What no flag can tell by itself.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.one_off && self.threads > 1 {
            let threads = self.threads;
            return Err(format!(
                "'--one-off' cannot be used with '--threads {threads}': expected one loop, which \
                 serves one connection or datagram"
            ));
        }
        Ok(())
    }

    fn options(&self, connections_max: u64) -> Options {
        let answer = match &self.reply {
            Some(text) => Answer::Text(text.as_bytes().into()),
            None if self.discard => Answer::Nothing,
            None => Answer::Echo,
        };
        Options {
            answer,
            one_off: self.one_off,
            connections_max: usize::try_from(connections_max).unwrap_or(usize::MAX),
            idle_timeout: self.idle_timeout,
            stall_timeout: self.stall_timeout,
            drain_timeout: self.drain_timeout,
            report_interval: self.stats,
            trains: !self.no_offload,
            splice: !self.no_splice,
            socket: SocketOptions {
                backlog: u32::try_from(self.backlog).unwrap_or(u32::MAX),
                receive_buf_bytes: self.rcvbuf,
                send_buf_bytes: self.sndbuf,
                nodelay: !self.nagle,
                congestion: self.congestion.clone(),
                unix_mode: self.unix_mode,
                ..SocketOptions::default()
            },
        }
    }

    fn warn_of_flags_without_tcp(&self, endpoints: &[Endpoint]) {
        if endpoints.iter().any(|endpoint| endpoint.transport() == Transport::Tcp) {
            return;
        }
        let given = [("--nagle", self.nagle), ("--congestion", self.congestion.is_some())];
        let names: Vec<_> =
            given.iter().filter(|(_, is_given)| *is_given).map(|(n, _)| *n).collect();
        if !names.is_empty() {
            warn!("{} without effect: no endpoint is TCP", names.join(" and "));
        }
    }

    /// Log lines as the flags say, unless RUST_LOG says otherwise.
    fn start_log(&self, log: &Outlet) {
        let level = match (self.quiet, self.verbose) {
            (0, 0) => "info",
            (1, _) => "warn",
            (0, 1) => "debug",
            (0, _) => "trace",
            (_, _) => "error",
        };
        // An empty one would silence all but errors.
        let asked = std::env::var_os("RUST_LOG").filter(|filter| !filter.is_empty());
        let filter = asked.as_ref().and_then(|filter| EnvFilter::try_new(filter.to_str()?).ok());
        let is_invalid = asked.is_some() && filter.is_none();
        let log = log.clone();
        tracing_subscriber::fmt()
            .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(level)))
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(move || log.clone())
            .init();
        if is_invalid {
            warn!("RUST_LOG is ignored: it is no log filter, such as debug");
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), resound::Error> {
    let started_at = Instant::now();
    let log = Outlet::new(io::stderr(), |_| {});
    arguments.start_log(&log);
    let outcome = serve(arguments, started_at, &log);
    // One deadline for both: who has not read until then will not read more.
    let deadline = Instant::now() + FLUSH_TIMEOUT;
    let lost = log.flush(deadline);
    if lost > 0 {
        warn!(
            "up to {lost} lines of the log were lost: stderr took them too slowly, or not at all"
        );
        log.flush(deadline);
    }
    outcome
}

/// What to do, on the thread that prints, when stdout takes no more.
fn on_print_error(stop: StopAll) -> impl FnMut(io::Error) {
    let mut quiet_until = Instant::now();
    move |error| {
        let now = Instant::now();
        if error.kind() == io::ErrorKind::BrokenPipe {
            // Whoever read the messages has left: there is nothing left to serve for.
            stop.stop();
        } else if now >= quiet_until {
            quiet_until = now + WARNING_INTERVAL;
            warn!("cannot print to stdout: {}", resound::reason(&error));
        }
    }
}

fn serve(arguments: &Arguments, started_at: Instant, log: &Outlet) -> Result<(), resound::Error> {
    let endpoints = arguments.endpoints();
    let loops = loops::useful_count(arguments.threads, &endpoints);
    let connections_max = connection_limit(arguments.max_connections, &endpoints, loops)?;
    let failed = |error| resound::Error::new("start", "the loop", error);
    let (reactors, stop) = loops::reactors(loops, arguments.spin).map_err(failed)?;

    let print = arguments.print.then(|| Outlet::new(io::stdout(), on_print_error(stop.clone())));
    let console = |label| Console::new(label, print.clone(), log.clone(), started_at);
    let options = arguments.options(connections_max);
    let mut loops = Loops::new((reactors, stop), options, console);
    loops.pin(arguments.affinity.as_ref().map_or(&[], |list| &list.0))?;
    let bound = loops.listen(&endpoints, &[libc::SIGTERM, libc::SIGINT, libc::SIGUSR1])?;
    bound.iter().for_each(log_bound);
    arguments.warn_of_flags_without_tcp(&endpoints);
    let running = loops.start()?;
    match print_listening(&bound) {
        // Nobody reads where it listens: a quiet end, as of any program in a pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        other => other.map_err(|error| resound::Error::new("write to", "stdout", error))?,
    }

    let (counters, outcome) = running.run();
    console(String::new()).print_stats(&counters);
    let lost = print.map_or(0, |print| print.flush(Instant::now() + FLUSH_TIMEOUT));
    if lost > 0 {
        warn!("up to {lost} messages were not printed: stdout took them too slowly, or not at all");
    }
    outcome
}

/// All lines in one write: a reader that leaves after the first, as `head -1` does, must not make
/// it a matter of luck whether the server goes on.
fn print_listening(bound: &[Bound]) -> io::Result<()> {
    let line = |Bound { endpoint, .. }: &Bound| format!("listening {endpoint}\n");
    let lines: String = bound.iter().map(line).collect();
    let mut stdout = io::stdout().lock();
    stdout.write_all(lines.as_bytes())?;
    stdout.flush()
}

fn log_bound(bound: &Bound) {
    let Bound { endpoint, granted, .. } = bound;
    if !granted.is_empty() {
        let granted: Vec<_> =
            granted.iter().map(|(name, value)| format!("{name}={value}")).collect();
        info!("{endpoint}: granted {}", granted.join(" "));
    }
    if endpoint.transport() == Transport::Udp && !bound.is_local() {
        warn!(
            "{endpoint} can be reached from other hosts: an open UDP echo answers forged sources, \
             and so reflects traffic at third parties"
        );
    }
}

/// Raises the descriptor limit as far as it goes, and fits the connection limit into it.
fn connection_limit(
    asked: Option<u64>,
    endpoints: &[Endpoint],
    loops: usize,
) -> Result<u64, resound::Error> {
    let failed = |error| resound::Error::new("raise", "the descriptor limit", error);
    let (soft, hard) = rlimit::Resource::NOFILE.get().map_err(failed)?;
    let limit = rlimit::increase_nofile_limit(u64::MAX).map_err(failed)?;
    if limit > soft {
        info!("descriptor limit raised from {soft} to {limit} (hard limit {hard})");
    }
    // An endpoint may be several sockets: two for every interface, one an address for a name.
    const SOCKETS_PER_ENDPOINT: u64 = 2;
    let sockets = SOCKETS_PER_ENDPOINT * endpoints.len() as u64;
    let others = loops as u64 - 1;
    let reserved = DESCRIPTORS_RESERVED + sockets + others * (DESCRIPTORS_PER_LOOP + sockets);
    let most = limit.saturating_sub(reserved).max(1);
    match asked {
        Some(asked) if asked > most => {
            warn!("--max-connections {asked} is beyond the descriptor limit {limit}: using {most}");
            Ok(most)
        }
        Some(asked) => Ok(asked),
        None => {
            info!("at most {most} connections (descriptor limit {limit})");
            Ok(most)
        }
    }
}
