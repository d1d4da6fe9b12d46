//! Measures the echo server with blocking clients, for each transport, message size and number of
//! connections: `cargo bench --bench echo`. The server runs on its own thread.
//!
//! - `round_trip/TRANSPORT/SIZE/CONNECTIONS`: one message and its echo, on one connection after
//!   the other. The result includes the cost of the idle connections.
//! - `throughput/TRANSPORT/SIZE/CONNECTIONS`: many messages in flight, see [`Clients::flight`]:
//!   64, or one on each stream if that is more, and at most 128 KiB on one stream or to one
//!   datagram socket. When the client has received some echoes, it sends as many messages. The
//!   result is in messages and in bytes: messages matter for small sizes, bytes for large ones.
//!
//! The longest UDP datagram is 65,507 bytes; the benchmark uses it instead of 64 KiB.
//!
//! With two CPUs, client and server have one each and share it with the kernel and other programs.
//! The figures describe the pair, and a round trip is mostly two threads that wake each other. The
//! client makes one system call per message to send. To receive, it makes one per datagram, or one
//! or a few per batch on a stream. The client is therefore the limit as often as the server.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use resound::endpoint::Transport;

use self::support::{Clients, Embedded};

const CONNECTIONS: [usize; 3] = [1, 16, 256];

fn sizes_bytes(transport: Transport) -> [(&'static str, usize); 4] {
    let longest = match transport {
        Transport::Udp => ("65507B", 65_507),
        _ => ("64KiB", 64 << 10),
    };
    [("64B", 64), ("1KiB", 1 << 10), ("16KiB", 16 << 10), longest]
}

/// Calls `run` for every size and number of connections of every transport.
fn for_each(
    criterion: &mut Criterion,
    group: &str,
    mut run: impl FnMut(&mut Criterion, &str, BenchmarkId, &mut Clients, &[u8]),
) {
    for transport in Transport::ALL {
        let group = format!("{group}/{}", transport.name());
        for connections in CONNECTIONS {
            let server = Embedded::start(transport);
            let mut clients = Clients::connect(&server, connections);
            let plural = if connections == 1 { "" } else { "s" };
            for (size, bytes) in sizes_bytes(transport) {
                clients.check(bytes);
                let id = BenchmarkId::new(size, format!("{connections}_connection{plural}"));
                run(criterion, &group, id, &mut clients, &vec![7; bytes]);
            }
        }
    }
}

fn round_trip(criterion: &mut Criterion) {
    for_each(criterion, "round_trip", |criterion, group, id, clients, message| {
        criterion.benchmark_group(group).bench_function(id, |bencher| {
            bencher.iter(|| {
                clients.send_batch(message, 1);
                clients.receive_batch(message.len(), 1);
            });
        });
    });
}

fn throughput(criterion: &mut Criterion) {
    for_each(criterion, "throughput", |criterion, group, id, clients, message| {
        let flight = clients.flight(message.len());
        let messages = flight.batches * flight.messages_each;
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::ElementsAndBytes {
            elements: messages as u64,
            bytes: (messages * message.len()) as u64,
        });
        group.bench_function(id, |bencher| {
            (0..flight.batches).for_each(|_| clients.send_batch(message, flight.messages_each));
            bencher.iter(|| {
                for _ in 0..flight.batches {
                    clients.receive_batch(message.len(), flight.messages_each);
                    clients.send_batch(message, flight.messages_each);
                }
            });
            (0..flight.batches)
                .for_each(|_| clients.receive_batch(message.len(), flight.messages_each));
        });
    });
}

/// Settings with which the 96 measurements take three minutes.
fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

criterion_group! { name = benches; config = short(); targets = round_trip, throughput }
criterion_main!(benches);
