//! A simple load generator: one blocking thread per connection, one message in flight on each. It
//! compares every echo with its message and records every round trip in a histogram.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use resound_peers::{exit_code, usage};

/// The longest round trip that the histogram holds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// An echo that takes longer is an error, because a lost echo must not hang the comparison.
const TIMEOUT: Duration = Duration::from_secs(5);

const STACK_BYTES: usize = 64 << 10;

struct Arguments {
    addr: SocketAddr,
    connections: usize,
    bytes: usize,
    duration: Duration,
}

/// The result of one thread.
struct Run {
    latency_ns: Histogram<u64>,
    started_at: Instant,
    ended_at: Instant,
}

fn main() -> ExitCode {
    exit_code(run())
}

fn run() -> io::Result<()> {
    let arguments =
        parse().ok_or_else(|| usage("IP:PORT CONNECTIONS BYTES SECONDS (each above 0)"))?;
    let streams = (0..arguments.connections)
        .map(|_| connect(arguments.addr))
        .collect::<io::Result<Vec<_>>>()?;

    let runs = run_all(streams, &arguments)?;
    let mut latency_ns = histogram()?;
    for run in &runs {
        latency_ns.add(&run.latency_ns).map_err(io::Error::other)?;
    }
    // The time from the first send to the last echo, as the threads recorded it. This thread may
    // get the CPU later.
    let started_at = runs.iter().map(|run| run.started_at).min();
    let ended_at = runs.iter().map(|run| run.ended_at).max();
    let elapsed = ended_at.zip(started_at).map(|(ended_at, started_at)| ended_at - started_at);
    let seconds = elapsed.unwrap_or_default().as_secs_f64();
    let messages = latency_ns.len();
    println!(
        "messages={messages} seconds={seconds:.6} rate={:.1} p50_ns={} p99_ns={}",
        messages as f64 / seconds,
        latency_ns.value_at_quantile(0.5),
        latency_ns.value_at_quantile(0.99),
    );
    Ok(())
}

/// Runs one thread per stream. All begin at the same time.
fn run_all(streams: Vec<TcpStream>, arguments: &Arguments) -> io::Result<Vec<Run>> {
    let start = Barrier::new(streams.len());
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(streams.len());
        for (number, stream) in streams.into_iter().enumerate() {
            let start = &start;
            let thread = thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, move || ping_pong(stream, number, start, arguments))?;
            threads.push(thread);
        }
        let join = |thread: thread::ScopedJoinHandle<'_, io::Result<Run>>| {
            thread.join().map_err(|_| io::Error::other("a thread panicked"))?
        };
        threads.into_iter().map(join).collect()
    })
}

fn parse() -> Option<Arguments> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [addr, connections, bytes, seconds] = arguments.as_slice() else {
        return None;
    };
    let seconds: f64 = seconds.parse().ok().filter(|seconds| *seconds > 0.0)?;
    Some(Arguments {
        addr: addr.parse().ok()?,
        connections: connections.parse().ok().filter(|connections| *connections > 0)?,
        bytes: bytes.parse().ok().filter(|bytes| *bytes > 0)?,
        duration: Duration::try_from_secs_f64(seconds).ok()?,
    })
}

fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_max(LATENCY_NS_MAX, DIGITS).map_err(io::Error::other)
}

/// Sends and receives until the time is over.
fn ping_pong(
    mut stream: TcpStream,
    number: usize,
    start: &Barrier,
    arguments: &Arguments,
) -> io::Result<Run> {
    let message: Vec<u8> = (number..).map(|byte| byte as u8).take(arguments.bytes).collect();
    let mut echo = vec![0; arguments.bytes];
    let mut latency_ns = histogram()?;
    start.wait();
    let started_at = Instant::now();
    let ends_at = started_at + arguments.duration;
    let mut sent_at = started_at;
    while sent_at < ends_at {
        stream.write_all(&message)?;
        stream.read_exact(&mut echo)?;
        if echo != message {
            return Err(io::Error::new(ErrorKind::InvalidData, "an echo differs from its message"));
        }
        let received_at = Instant::now();
        let nanoseconds = (received_at - sent_at).as_nanos() as u64;
        latency_ns.record(nanoseconds).map_err(io::Error::other)?;
        sent_at = received_at;
    }
    Ok(Run { latency_ns, started_at, ended_at: sent_at })
}
