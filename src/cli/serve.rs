//! `resound serve`: turns flags into the options of the daemon.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args};
use ipnet::IpNet;
use resound::daemon::{self, LogFormat, LogOptions, UserName};
use resound::echo::{Access, Bound, Options, Reply, parse_network};
use resound::endpoint::{Endpoint, HostPort, Scope, Transport, places};
use resound::process::cpus::CpuList;
use resound::process::standard;
use resound::reactor::Spin;
use resound::socket::{Keepalive, SocketOptions};
use resound::trace::TraceFile;
use resound::units::{parse_time, parse_time_above_zero};
use tracing::{Level, warn};

use super::flags::{SocketFlags, VALUES_HELP};
use super::values::{at_least_one, octal_mode, threads};
use super::{FAILED, print_error};

/// The longest payload of a UDP datagram over IPv6. Over IPv4 it is 20 bytes shorter; the daemon
/// warns about that when the endpoint is bound.
const UDP_BYTES_MAX: usize = 65_527;

/// Echo every message (RFC 862), on any number and mix of endpoints
#[derive(Debug, Args)]
#[command(after_help = VALUES_HELP)]
pub(super) struct Arguments {
    /// tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unixgram:PATH, unix:@NAME, unixgram:@NAME
    /// [default: tcp://127.0.0.1:7007 udp://127.0.0.1:7007]
    #[arg(value_name = "ENDPOINT")]
    endpoints: Vec<Endpoint>,

    /// Reply with TEXT to each datagram, and to each chunk read from a stream
    #[arg(long, value_name = "TEXT", conflicts_with = "discard")]
    reply: Option<String>,

    /// Discard what arrives and reply nothing (RFC 863)
    #[arg(long)]
    discard: bool,

    /// Print each message to stdout with time and peer
    #[arg(long)]
    print: bool,

    /// Serve one connection or one datagram, then exit
    #[arg(short = '1', long)]
    one_off: bool,

    /// Length of the queue of connections to accept: the backlog of listen(2)
    #[arg(long, value_name = "N", default_value = "4096", value_parser = at_least_one)]
    backlog: u64,

    /// Stop accepting at N connections, and go on when one closes [default: as many as the
    /// descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_connections: Option<u64>,

    /// Close a new connection from an address that has N open; IPv6 addresses count by /64
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_connections_per_ip: Option<u64>,

    /// Over TCP and UDP, serve only the networks and addresses that are allowed; repeatable
    #[arg(long, value_name = "CIDR", value_parser = parse_network)]
    allow: Vec<IpNet>,

    /// Do not serve this network or address, even if --allow includes it; repeatable
    #[arg(long, value_name = "CIDR", value_parser = parse_network)]
    deny: Vec<IpNet>,

    /// Answer datagrams that can make two services answer each other without end: over UDP from the
    /// ports of services, and from or to broadcast and multicast addresses; over Unix sockets from
    /// a path that leads to another socket than the sender's
    #[arg(long)]
    allow_loops: bool,

    /// Answer at most N UDP datagrams per second from one address; IPv6 addresses count by /64
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    rate_limit_per_ip: Option<u64>,

    /// Close a connection on which no byte moved for T
    #[arg(long, value_name = "T", value_parser = parse_time_above_zero)]
    idle_timeout: Option<Duration>,

    /// Close a connection whose peer takes none of its echo for T. A slow reader shows progress
    /// only when its system reopens the window: after 64 KiB or a sixteenth of its receive buffer
    #[arg(long, value_name = "T", default_value = "30s", value_parser = parse_time_above_zero)]
    stall_timeout: Duration,

    /// Let the kernel probe a TCP peer that was silent for T, and close the connection if the peer
    /// does not answer for another T, so that vanished peers are disconnected; system: by
    /// net.ipv4.tcp_keepalive_*; off: never [default: 60s, or the system's times if they are
    /// shorter]
    #[arg(long, value_name = "T|system|off")]
    keepalive: Option<Keepalive>,

    /// On SIGTERM, SIGINT or SIGHUP, wait up to T for peers to finish
    #[arg(long, value_name = "T", default_value = "5s", value_parser = parse_time)]
    drain_timeout: Duration,

    /// Keep polling without sleeping for T after the last event: quicker replies, a busy CPU
    #[arg(long, value_name = "T|always", default_value = "0")]
    spin: Spin,

    /// Run N independent loops, each with its own thread and sockets (SO_REUSEPORT); the first one
    /// serves the Unix endpoints
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    threads: usize,

    /// Pin the first loop to the first of these CPUs, the second loop to the second, and so on
    #[arg(long, value_name = "CPU[,CPU]")]
    affinity: Option<CpuList>,

    #[command(flatten)]
    socket: SocketFlags,

    /// Receive and send UDP datagrams one at a time, not in trains (GRO, GSO)
    #[arg(long)]
    no_offload: bool,

    /// Copy bulk streams instead of splicing them. With splicing, a peer on this host that sends by
    /// sendfile(2) and changes the file before its echo arrives gets the changed bytes back
    #[arg(long)]
    no_splice: bool,

    /// Started by root, become this user and its groups for good, after binding and before the
    /// first reply
    #[arg(long, value_name = "NAME[:GROUP]")]
    user: Option<UserName>,

    /// After binding, give up the rights that serving does not need: no new privileges, landlock,
    /// seccomp (Linux; the log says what took effect)
    #[arg(long)]
    sandbox: bool,

    /// Permissions of socket files
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = octal_mode)]
    unix_mode: u32,

    /// Print the counters to stderr every T; SIGUSR1 prints them once, and they are always printed
    /// at exit
    #[arg(long, value_name = "T", value_parser = parse_time_above_zero)]
    stats: Option<Duration>,

    /// Serve /metrics (Prometheus text) and /healthz over HTTP; with port 0 the kernel picks a
    /// port, which is logged [default: off]
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<HostPort>,

    /// Write what the loops did in their last turns, at the end and on SIGUSR2: for
    /// Perfetto and speedscope (.json), or a page that steps through the turns (.html)
    #[arg(long, value_name = "FILE")]
    trace: Option<TraceFile>,

    /// Write the log as text, or as a JSON object per line
    #[arg(long, value_name = "text|json", default_value = "text")]
    log_format: LogFormat,

    /// Log each connection at its end: peer, bytes, duration, cause
    #[arg(long)]
    access_log: bool,

    /// Log connections that do not end by their peer's FIN (-vv: every connection); RUST_LOG
    /// overrides this
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Log only warnings and errors (-qq: only errors); the counters are printed nevertheless
    #[arg(short, long, action = ArgAction::Count)]
    quiet: u8,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match daemon::run(arguments.options(), |bound| arguments.warn_of_flags(bound)) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) if arguments.log_format == LogFormat::Json => {
            // A failure is ignored, because nothing could report it.
            let _ = standard::stderr().write_all(daemon::json_error(&error).as_bytes());
        }
        Err(error) => print_error(&error),
    }
    ExitCode::from(FAILED)
}

impl Arguments {
    /// Checks what depends on more than one flag.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_reply()?;
        self.endpoints.iter().try_for_each(|endpoint| self.socket.family.check(endpoint))?;
        if self.one_off && self.threads > 1 {
            let threads = self.threads;
            return Err(format!(
                "'--one-off' cannot be used with '--threads {threads}': expected one loop, which \
                 serves one connection or datagram, such as --threads 1"
            ));
        }
        Ok(())
    }

    /// Refuses a reply that no UDP datagram can carry, because it would never be sent.
    fn check_reply(&self) -> Result<(), String> {
        let length = self.reply.as_ref().map_or(0, String::len);
        // Without endpoints, it is not yet known whether sockets are passed.
        let is_udp = |endpoint: &&Endpoint| endpoint.transport() == Transport::Udp;
        match self.endpoints.iter().find(is_udp) {
            Some(endpoint) if length > UDP_BYTES_MAX => Err(format!(
                "invalid value of {length} bytes for '--reply <TEXT>': too long for a datagram of \
                 {endpoint}: expected at most {UDP_BYTES_MAX} bytes, such as 'OK'"
            )),
            _ => Ok(()),
        }
    }

    fn options(&self) -> daemon::Options {
        daemon::Options {
            endpoints: self.endpoints.clone(),
            server: self.server_options(),
            connections_max: self.max_connections,
            threads: self.threads,
            affinity: self.affinity.clone().unwrap_or_default().0,
            spin: self.spin,
            print: self.print,
            user: self.user.clone(),
            sandbox: self.sandbox,
            metrics: self.metrics.clone(),
            trace: self.trace.clone(),
            log: LogOptions {
                level: self.log_level(),
                format: self.log_format,
                access: self.access_log,
            },
        }
    }

    fn server_options(&self) -> Options {
        let reply = match &self.reply {
            Some(text) => Reply::Text(text.as_bytes().into()),
            None if self.discard => Reply::Nothing,
            None => Reply::Echo,
        };
        Options {
            reply,
            one_off: self.one_off,
            connections_per_address_max: self
                .max_connections_per_ip
                .map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            access: Access::new(&self.allow, &self.deny),
            loop_guard: !self.allow_loops,
            datagrams_per_second_max: self.rate_limit_per_ip,
            idle_timeout: self.idle_timeout,
            stall_timeout: self.stall_timeout,
            drain_timeout: self.drain_timeout,
            report_interval: self.stats,
            trains: !self.no_offload,
            splice: !self.no_splice,
            socket: SocketOptions {
                backlog: u32::try_from(self.backlog).unwrap_or(u32::MAX),
                keepalive: self.keepalive.unwrap_or_default(),
                unix_mode: self.unix_mode,
                ..self.socket.options()
            },
            ..Options::default()
        }
    }

    /// Returns the given settings of sockets that only some transports have.
    fn scoped_settings(&self) -> [(Scope, Vec<&'static str>); 2] {
        [(Scope::Tcp, self.socket.of_tcp()), (Scope::Ip, self.socket.of_ip())]
    }

    /// Returns the given limits and permissions for peers that only some transports have.
    fn scoped_limits(&self) -> [(Scope, Vec<&'static str>); 4] {
        let given = |flags: &[(&'static str, bool)]| {
            let given = flags.iter().filter(|(_, is_given)| *is_given);
            given.map(|(name, _)| *name).collect::<Vec<_>>()
        };
        let access = [("--allow", !self.allow.is_empty()), ("--deny", !self.deny.is_empty())];
        let of_tcp = [
            ("--keepalive", self.keepalive.is_some()),
            ("--max-connections-per-ip", self.max_connections_per_ip.is_some()),
        ];
        [
            (Scope::Ip, given(&access)),
            (Scope::Tcp, given(&of_tcp)),
            (Scope::Udp, given(&[("--rate-limit-per-ip", self.rate_limit_per_ip.is_some())])),
            (Scope::Datagram, given(&[("--allow-loops", self.allow_loops)])),
        ]
    }

    /// Warns about settings that some endpoints do not have, and about limits that none has.
    fn warn_of_flags(&self, bound: &[Bound]) {
        let places = places(bound.iter().map(|bound| &bound.endpoint));
        // Without endpoints on the command line, the default ones are of several kinds.
        let settings = self.scoped_settings().map(|of| (of, self.endpoints.is_empty()));
        let limits = self.scoped_limits().map(|of| (of, true));
        for ((scope, flags), is_one_enough) in settings.into_iter().chain(limits) {
            if !is_one_enough || !scope.has_any(&places) {
                scope.warning(&flags, &places).iter().for_each(|warning| warn!("{warning}"));
            }
        }
    }

    /// Returns the log level, unless RUST_LOG overrides it.
    fn log_level(&self) -> Level {
        match (self.quiet, self.verbose) {
            (0, 0) => Level::INFO,
            (1, _) => Level::WARN,
            (0, 1) => Level::DEBUG,
            (0, _) => Level::TRACE,
            (_, _) => Level::ERROR,
        }
    }
}
