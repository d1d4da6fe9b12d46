//! The flags of `resound bench`: what was typed and what it means.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use resound::endpoint::{Endpoint, Family, ResolvedEndpoint, Scope, Transport, check_datagram};
use resound::load::{Lengths, Options, Spacing};
use resound::measured::{Assertion, LoadLoop, Mode, Need, PercentileList, RunResult, Warning};
use resound::reactor::Spin;
use resound::report::{Format, Output, check_outputs};
use resound::socket::{LocalAddrs, SocketOptions};
use resound::trace::TraceFile;
use resound::units::{duration_ns, parse_time, parse_time_above_zero};
use serde_json::{Map, Value, json};

use super::loops::LoopFlags;
use super::part::PartFlags;
use crate::cli::flags::{BindFlags, SocketFlags, TimestampFlags, VALUES_HELP, client_options};
use crate::cli::values::{at_least_one, mode, transport};

/// The duration of a run without `--duration` and `--count`.
const DURATION_DEFAULT: Duration = Duration::from_secs(10);

/// The default depth of datagrams in an open loop. A datagram does not wait for the echo of
/// another, so a lost one must not hold up the rest.
const DATAGRAMS_IN_FLIGHT_MAX: u64 = 1024;

/// The default interval between two lines on a terminal, or two histograms of a log.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(1);

/// Put load on an echo server (any that speaks RFC 862), and measure its replies
#[derive(Debug, Args)]
#[command(after_help = VALUES_HELP)]
pub(in crate::cli) struct Arguments {
    /// tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unixgram:PATH, unix:@NAME, unixgram:@NAME
    /// [default: an echo server in this process]
    #[arg(value_name = "ENDPOINT")]
    pub(super) endpoint: Option<Endpoint>,

    /// Transport to the server in this process
    #[arg(long, value_name = "TRANSPORT", default_value = "tcp", conflicts_with = "endpoint")]
    #[arg(value_parser = transport())]
    pub(super) transport: Transport,

    /// Number of connections or client sockets
    #[arg(short, long, value_name = "N", default_value = "50", value_parser = at_least_one)]
    pub(super) connections: u64,

    /// Bytes per message: a size, sizes with weights (64:70%,1200:25%,9000:5%; latency is reported
    /// for each), or a range (64..1500; latency in 8 parts)
    #[arg(short, long, visible_alias = "size", value_name = "SIZE", default_value = "64")]
    pub(super) length: Lengths,

    /// Maximum number of messages in flight per connection [default: 1, or as many as a burst
    /// needs; with --rate and datagrams: at least 1024]
    #[arg(short, long, value_name = "N", value_parser = at_least_one)]
    pub(super) depth: Option<u64>,

    /// Measure for T [default: 10s, or until --count]
    #[arg(short = 't', long, value_name = "T", value_parser = parse_time_above_zero)]
    pub(super) duration: Option<Duration>,

    /// Measure N messages
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one)]
    pub(super) count: Option<u64>,

    /// Send N messages per second in total, by the clock (an open loop) [default: send each message
    /// when an earlier echo arrives (a closed loop)]
    #[arg(short, long, value_name = "N", value_parser = at_least_one)]
    pub(super) rate: Option<u64>,

    /// Spacing of messages in an open loop: fixed, poisson, or burst:N (N at once, every N/rate)
    #[arg(long, value_name = "SPACING", default_value = "fixed", requires = "rate")]
    pub(super) arrival: Spacing,

    /// What counts as a message: an echo, or a connection with one echo
    #[arg(long, value_name = "MODE", default_value = "echo", value_parser = mode())]
    pub(super) mode: Mode,

    /// Reopen streams that end, after 10ms and up to 1s; messages due meanwhile are lost [default:
    /// they stay closed]
    #[arg(long)]
    pub(super) reconnect: bool,

    /// Send load for T before measuring
    #[arg(long, value_name = "T", default_value = "1s", value_parser = parse_time)]
    pub(in crate::cli) warmup: Duration,

    /// Count a message as lost after T without its echo; also limits name lookup. Connecting may
    /// take 3s in any case
    #[arg(long, value_name = "T", default_value = "1s", value_parser = parse_time_above_zero)]
    pub(super) timeout: Duration,

    /// Do not compare echoes with what was sent
    #[arg(long)]
    pub(super) no_verify: bool,

    /// Percentiles of latency to report
    #[arg(long, value_name = "LIST", default_value = "50,90,99,99.9,99.99")]
    pub(super) percentiles: PercentileList,

    /// Report progress every T [default: 1s on a terminal]
    #[arg(long, value_name = "T", value_parser = parse_time_above_zero)]
    pub(super) interval: Option<Duration>,

    /// Print one JSON document instead of text
    #[arg(short = 'J', long)]
    pub(super) json: bool,

    /// Print one line of JSON per interval, and the document as the last line
    #[arg(long, conflicts_with = "json")]
    pub(super) json_stream: bool,

    /// Also write the result to FILE (.json, .html, .csv, .hgrm, .hlog); repeatable. An existing
    /// file is replaced only once the new one is complete, and is kept if nothing was measured
    #[arg(short, long = "output", value_name = "FILE")]
    pub(super) output: Vec<Output>,

    /// Write what the generator's loops did in their last turns, at the end and on SIGUSR2: for
    /// Perfetto and speedscope (.json), or a page that steps through the turns (.html)
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<TraceFile>,

    /// Exit with 99 unless EXPR holds, such as 'p99<200us', 'rate>100k' or 'loss<0.1%'; repeatable
    #[arg(long = "assert", value_name = "EXPR")]
    pub(super) asserts: Vec<Assertion>,

    /// Poll without sleeping for T after the last event, or always; 0 always sleeps, and wakes some
    /// tens of microseconds late [default: as the rate needs; 0 with more loops than CPUs]
    #[arg(long, value_name = "T|always")]
    pub(super) spin: Option<Spin>,

    #[command(flatten)]
    pub(super) loops: LoopFlags,

    #[command(flatten)]
    pub(super) part: PartFlags,

    #[command(flatten)]
    pub(super) socket: SocketFlags,

    #[command(flatten)]
    pub(super) bind: BindFlags,

    /// Send and receive UDP datagrams one at a time [default: with --depth above 1, several per
    /// call where possible (GSO, GRO)]
    #[arg(long)]
    no_offload: bool,

    #[command(flatten)]
    timestamps: TimestampFlags,

    /// Store TEXT in the result
    #[arg(long, value_name = "TEXT")]
    pub(super) label: Option<String>,
}

impl Arguments {
    /// Returns the transport of the endpoint, or of the server in this process.
    pub(super) fn transport(&self) -> Transport {
        self.endpoint.as_ref().map_or(self.transport, Endpoint::transport)
    }

    /// Checks what depends on more than one flag.
    pub(in crate::cli) fn check(&self) -> Result<(), String> {
        if let Some(Endpoint::Tcp(host_port) | Endpoint::Udp(host_port)) = &self.endpoint
            && host_port.port == 0
        {
            return Err("no server listens on port 0: expected a port such as 7007".to_owned());
        }
        if self.mode == Mode::Connect && !self.transport().is_stream() {
            return Err("--mode connect needs a stream: expected tcp:// or unix:, such as \
                        tcp://127.0.0.1:7007"
                .to_owned());
        }
        if self.mode == Mode::Connect && self.depth.is_some_and(|depth| depth > 1) {
            return Err("--mode connect has one echo per connection: expected no other depth, \
                        such as --depth 1"
                .to_owned());
        }
        if let Some(endpoint) = &self.endpoint {
            self.socket.family.check(endpoint)?;
        }
        self.check_length_in(self.family())?;
        self.bind.check_places(&[self.place()])?;
        self.bind.check(self.endpoint.as_ref(), &self.socket.family)?;
        check_outputs(&self.output, self.trace.as_ref().map(TraceFile::path), &[])?;
        if self.mode == Mode::Connect && self.reconnect {
            return Err(
                "--mode connect opens a connection for each message: expected --reconnect \
                        with another mode, such as --mode echo"
                    .to_owned(),
            );
        }
        self.part.check(self.connections, self.count, self.warmup)?;
        self.loops.check(self.part.part, self.connections, self.count)?;
        let flows = u32::try_from(self.connections).unwrap_or(u32::MAX);
        if flows == u32::MAX || self.connections.saturating_mul(self.depth()) > 1 << 32 {
            return Err("expected at most 2^32 messages in flight in all, such as \
                        --connections 1k --depth 64"
                .to_owned());
        }
        Ok(())
    }

    /// Returns a warning about each assert on a figure that this run cannot have. Such an assert
    /// does not hold.
    fn vain_asserts(&self) -> Vec<String> {
        let has = |need| match need {
            Need::Rate => self.rate.is_some(),
            Need::Timestamps => self.timestamps.timestamps && Scope::Ip.has_any(&[self.place()]),
            Need::Tcp => self.transport() == Transport::Tcp,
            Need::Udp => self.transport() == Transport::Udp,
            Need::OwnServer => self.endpoint.is_none(),
        };
        let vain = |assert: &Assertion| {
            let need = assert.need().filter(|need| !has(*need))?;
            let assert = assert.expression();
            Some(format!("'{assert}' can never have a value in this run: {need}"))
        };
        self.asserts.iter().filter_map(vain).collect()
    }

    /// Returns the endpoint, or what stands for it, with its transport.
    fn place(&self) -> (String, Transport) {
        let transport = self.transport();
        let place = self.endpoint.as_ref().map(Endpoint::to_string);
        (place.unwrap_or_else(|| format!("--transport {}", transport.name())), transport)
    }

    /// Returns the family of the packets, or the one with the longer datagrams if only a lookup of
    /// the host can tell.
    fn family(&self) -> Family {
        let asked = self.socket_options().family;
        match &self.endpoint {
            Some(endpoint) if Family::V4.excludes(endpoint) => Family::V6,
            Some(endpoint) if Family::V6.excludes(endpoint) => Family::V4,
            Some(_) => asked.unwrap_or(Family::V6),
            None => asked.unwrap_or(Family::V4),
        }
    }

    fn check_length_in(&self, family: Family) -> Result<(), String> {
        check_datagram(self.length.greatest(), "--length <SIZE>", self.transport(), family)
    }

    /// Checks that a datagram of this target can carry a message. A lookup may have told that its
    /// datagrams are shorter than [`check`](Arguments::check) has allowed.
    pub(super) fn check_length(&self, target: &ResolvedEndpoint) -> Result<(), String> {
        let ip = target.ip_addr().map(|addr| addr.ip());
        self.check_length_in(ip.map_or_else(|| self.family(), Family::of))
    }

    /// Returns how many of the connections this process makes.
    pub(super) fn own_connections(&self) -> u64 {
        self.part.part.of_count(self.connections)
    }

    /// Returns the maximum number of messages in flight per connection.
    pub(super) fn depth(&self) -> u64 {
        let default = match self.rate.is_some() && !self.transport().is_stream() {
            true => DATAGRAMS_IN_FLIGHT_MAX,
            false => 1,
        };
        // A whole burst leaves at once.
        let of_burst = match self.arrival {
            Spacing::Burst(burst) if self.mode == Mode::Echo => {
                u64::from(burst).div_ceil(self.connections)
            }
            _ => 1,
        };
        self.depth.unwrap_or(default.max(of_burst))
    }

    /// Returns how long to measure, or `None` if only a count limits the run.
    fn duration(&self) -> Option<Duration> {
        self.duration.or(self.count.is_none().then_some(DURATION_DEFAULT))
    }

    /// Returns how long a run measures at most, as far as a time limits it.
    pub(in crate::cli) fn planned(&self) -> Duration {
        self.duration.unwrap_or(DURATION_DEFAULT)
    }

    /// Returns the planned length of the run, with its warm-up.
    pub(super) fn expected(&self) -> Option<Duration> {
        self.duration().map(|duration| duration.saturating_add(self.warmup))
    }

    /// Returns how often to report, or `None` to report no intervals.
    pub(super) fn interval(&self, is_terminal: bool) -> Option<Duration> {
        let is_log = self.output.iter().any(|output| output.format == Format::Hlog);
        let is_wanted = is_terminal || is_log || self.json_stream;
        self.interval.or(is_wanted.then_some(INTERVAL_DEFAULT))
    }

    /// Returns true if the result goes to a document that shows the course of the run.
    fn wants_timeline(&self) -> bool {
        let is_document = |output: &Output| matches!(output.format, Format::Json | Format::Html);
        self.json || self.json_stream || self.output.iter().any(is_document)
    }

    /// Returns the settings of the sockets.
    pub(super) fn socket_options(&self) -> SocketOptions {
        client_options(self.socket.options(), &self.bind, &self.socket.family)
    }

    /// Returns the options of the generator.
    pub(super) fn options(
        &self,
        target: &ResolvedEndpoint,
        local_addrs: LocalAddrs,
        folder: Option<&Path>,
        interval: Option<Duration>,
    ) -> Options {
        Options {
            target: target.clone(),
            share: self.part.part,
            connections: u32::try_from(self.connections).unwrap_or(u32::MAX),
            lengths: self.length.clone(),
            in_flight_max: usize::try_from(self.depth()).unwrap_or(usize::MAX),
            duration: self.duration(),
            count: self.count,
            rate: self.rate,
            spacing: self.arrival,
            mode: self.mode,
            reconnect: self.reconnect,
            warmup: self.warmup,
            start_at: self.part.start_at,
            timeout: self.timeout,
            verify: !self.no_verify,
            percentiles: self.percentiles.clone(),
            interval,
            timeline: self.wants_timeline(),
            spin: self.spin,
            offload: !self.no_offload,
            timestamps: self.timestamps.timestamps,
            socket: self.socket_options(),
            local_addrs,
            folder: folder.map(Path::to_owned),
        }
    }

    /// Returns every option with its effective value.
    pub(in crate::cli) fn meant(&self) -> Map<String, Value> {
        let Value::Object(mut meant) = json!({
            "endpoint": self.endpoint.as_ref().map(Endpoint::to_string),
            "transport": self.transport().name(),
            "connections": self.connections,
            "length": match self.length.least() == self.length.greatest() {
                true => json!(self.length.mean()),
                false => json!(self.length.to_string()),
            },
            "depth": self.depth(),
            "duration_ns": self.duration().map(duration_ns),
            "count": self.count,
            "rate": self.rate,
            "arrival": self.arrival.to_string(),
            "mode": self.mode,
            "reconnect": self.reconnect,
            "warmup_ns": duration_ns(self.warmup),
            "timeout_ns": duration_ns(self.timeout),
            "verify": !self.no_verify,
            "percentiles": self.percentiles.iter().map(|(text, _)| text).collect::<Vec<_>>(),
            "interval_ns": self.interval.map(duration_ns),
            "spin": self.spin.map(|spin| match spin {
                Spin::Never => json!(0),
                Spin::For(time) => json!(duration_ns(time)),
                Spin::Always => json!("always"),
            }),
            "no_offload": self.no_offload,
            "timestamps": self.timestamps.timestamps,
            "asserts": self.asserts.iter().map(Assertion::expression).collect::<Vec<_>>(),
        }) else {
            unreachable!("an object was made")
        };
        meant.extend(self.loops.meant());
        meant.extend(self.part.meant());
        meant.extend(self.socket.meant());
        meant.insert("bind".to_owned(), self.bind.meant());
        meant
    }

    /// Returns what the reader should know about the options before quoting a figure.
    pub(in crate::cli) fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |text: String| warnings.push(Warning(text));
        let mut of_ip = self.socket.of_ip();
        of_ip.extend(self.timestamps.given());
        for (scope, flags) in [(Scope::Tcp, self.socket.of_tcp()), (Scope::Ip, of_ip)] {
            scope.warning(&flags, &[self.place()]).into_iter().for_each(&mut warn);
        }
        self.loops.oddity().into_iter().chain(self.vain_asserts()).for_each(&mut warn);
        warnings
    }

    /// Adds the facts of the command line to a report.
    pub(super) fn described(&self, report: RunResult) -> RunResult {
        let mut described = RunResult {
            label: self.label.clone(),
            mode: self.mode,
            load_loop: if self.rate.is_some() { LoadLoop::Open } else { LoadLoop::Closed },
            arrival: self.rate.map(|_| self.arrival.to_string()),
            depth: self.depth(),
            connections: self.own_connections(),
            length: self.length.mean(),
            ..report
        };
        if let Some(endpoint) = &self.endpoint {
            described.endpoint = endpoint.to_string();
        }
        described.options.meant = self.meant();
        described.run.part = self.part.part.to_string();
        described
    }
}
