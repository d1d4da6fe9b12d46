//! `resound serve`: flags to the options of a daemon.

use std::time::Duration;

use clap::{ArgAction, Args};
use ipnet::IpNet;
use resound::daemon;
use resound::echo::{Access, Bound, Options, Reply};
use resound::endpoint::{Endpoint, HostPort, Transport};
use resound::reactor::Spin;
use resound::socket::{Keepalive, SocketOptions};
use resound::units::{parse_time, parse_time_above_zero};
use tracing::{Level, warn};

use super::flags::SocketFlags;
use super::values::{
    CpuList, at_least_one, cpu_list, host_port, keepalive, network, octal_mode, spin, threads,
};

/// The most that a UDP datagram carries, over IPv6. Over IPv4 it is 20 bytes less, and the endpoint
/// warns of a longer reply.
const UDP_BYTES_MAX: usize = 65_527;

/// Answer every message (RFC 862) on any number and mix of endpoints.
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

    /// Close a further connection of an address that has N open; IPv6 counts by /64
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_connections_per_ip: Option<u64>,

    /// Over TCP and UDP, serve only the networks and addresses that are allowed; repeatable
    #[arg(long, value_name = "CIDR", value_parser = network)]
    allow: Vec<IpNet>,

    /// Do not serve this network or address, even if it is allowed; repeatable
    #[arg(long, value_name = "CIDR", value_parser = network)]
    deny: Vec<IpNet>,

    /// Answer datagrams that can make two services answer each other forever: over UDP from ports
    /// of services, and from or to broadcast and multicast addresses; over Unix sockets from a path
    /// that leads to another socket than the sender's
    #[arg(long)]
    allow_loops: bool,

    /// Answer at most N UDP datagrams per second from one address; IPv6 counts by /64
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    rate_limit_per_ip: Option<u64>,

    /// Close a connection that moved no byte for T
    #[arg(long, value_name = "T", value_parser = parse_time_above_zero)]
    idle_timeout: Option<Duration>,

    /// Close a connection that takes nothing of its echo for T. A slow reader shows only when its
    /// system opens the window again: after 64 KiB or a sixteenth of its receive buffer
    #[arg(long, value_name = "T", default_value = "30s", value_parser = parse_time_above_zero)]
    stall_timeout: Duration,

    /// Have the kernel ask a TCP peer that was silent for T if it is still there, and close the
    /// connection when it has not answered for as long again: vanished peers give their places back
    /// [default: 60s, or net.ipv4.tcp_keepalive_* if sooner; system: those in any case; off: never]
    #[arg(long, value_name = "T|system|off", value_parser = keepalive)]
    keepalive: Option<Keepalive>,

    /// On SIGTERM, SIGINT or SIGHUP, wait up to T for peers to finish
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

    #[command(flatten)]
    socket: SocketFlags,

    /// Receive and answer UDP datagrams one by one, not in trains (GRO, GSO)
    #[arg(long)]
    no_offload: bool,

    /// Copy bulk streams instead of splicing them. Spliced, a peer on this host that sends by
    /// sendfile(2) and changes the file before it has its echo gets the changed bytes back
    #[arg(long)]
    no_splice: bool,

    /// Once bound, give up what serving does not need: no new privileges, landlock, seccomp (Linux;
    /// what took effect is logged)
    #[arg(long)]
    sandbox: bool,

    /// Mode of socket files
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = octal_mode)]
    unix_mode: u32,

    /// Print the counters to stderr every T (SIGUSR1: once; at exit in any case)
    #[arg(long, value_name = "T", value_parser = parse_time_above_zero)]
    stats: Option<Duration>,

    /// Serve /metrics (Prometheus text) and /healthz at HOST:PORT by HTTP; port 0 picks one, which
    /// is logged [default: off]
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    metrics: Option<HostPort>,

    /// Log connections that end other than by their peer's FIN (twice: every connection);
    /// RUST_LOG overrides
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Log warnings and errors only (twice: errors only); the counters are printed anyway
    #[arg(short, long, action = ArgAction::Count)]
    quiet: u8,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), resound::Error> {
    daemon::run(arguments.options(), |bound| arguments.warn_of_flags_without_use(bound))
}

impl Arguments {
    /// What no flag can tell by itself.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_reply()?;
        if self.one_off && self.threads > 1 {
            let threads = self.threads;
            return Err(format!(
                "'--one-off' cannot be used with '--threads {threads}': expected one loop, which \
                 serves one connection or datagram"
            ));
        }
        Ok(())
    }

    /// A reply that no UDP datagram can carry would be taken, and never sent.
    fn check_reply(&self) -> Result<(), String> {
        let length = self.reply.as_ref().map_or(0, String::len);
        // Without endpoints it is not known yet whether sockets are passed.
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
            sandbox: self.sandbox,
            metrics: self.metrics.clone(),
            log_level: self.log_level(),
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

    /// Warns of flags that no endpoint has a use for.
    fn warn_of_flags_without_use(&self, bound: &[Bound]) {
        let has = |transport| bound.iter().any(|bound| bound.endpoint.transport() == transport);
        let (has_tcp, has_udp) = (has(Transport::Tcp), has(Transport::Udp));
        let [nagle, congestion] = self.socket.of_tcp();
        let of_tcp = [
            nagle,
            congestion,
            ("--keepalive", self.keepalive.is_some()),
            ("--max-connections-per-ip", self.max_connections_per_ip.is_some()),
        ];
        let of_udp = [
            ("--allow-loops", self.allow_loops && !has(Transport::Unixgram)),
            ("--rate-limit-per-ip", self.rate_limit_per_ip.is_some()),
        ];
        let of_both = [("--allow", !self.allow.is_empty()), ("--deny", !self.deny.is_empty())];
        let groups = [
            (has_tcp, &of_tcp[..], "no endpoint is TCP"),
            (has_udp, &of_udp[..], "no endpoint is UDP"),
            (has_tcp || has_udp, &of_both[..], "no endpoint is TCP or UDP"),
        ];
        for (is_used, flags, reason) in groups {
            let given: Vec<_> =
                flags.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect();
            if !is_used && !given.is_empty() {
                warn!("{} without effect: {reason}", given.join(" and "));
            }
        }
    }

    /// What is logged, unless RUST_LOG says otherwise.
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
