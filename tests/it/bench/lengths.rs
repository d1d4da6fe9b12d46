//! Mixed lengths, against servers that share no code with the program.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::Value;

use crate::bench::{bench_json, count, good_json, run_bench};

const MIX: &str = "-l64:70%,1200:25%,9000:5%";
const CLASSES: [(u64, u64); 3] = [(64, 64), (1_200, 1_200), (9_000, 9_000)];

/// How long a server waits for more before it takes the run for over.
const SILENCE: Duration = Duration::from_secs(20);

/// Sends back what arrives, until an empty datagram, and returns how often each length came.
fn echo_datagrams(
    receive: impl Fn(&mut [u8]) -> std::io::Result<usize>,
    reply: impl Fn(&[u8]),
) -> HashMap<u64, u64> {
    let mut buf = vec![0; 70_000];
    let mut lengths = HashMap::new();
    loop {
        match receive(&mut buf) {
            Ok(0) | Err(_) => return lengths,
            Ok(count) => {
                *lengths.entry(count as u64).or_default() += 1;
                reply(&buf[..count]);
            }
        }
    }
}

/// Runs `bench` against a UDP server that echoes, and returns the lengths that reached it.
fn over_udp(flags: &[&str]) -> (Value, HashMap<u64, u64>) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(SILENCE)).unwrap();
    let endpoint = format!("udp://{}", server.local_addr().unwrap());
    let peer = std::cell::Cell::new(None);
    std::thread::scope(|scope| {
        let bench = scope.spawn(|| {
            let document = good_json(&[flags, &[&endpoint]].concat());
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[], &endpoint[6..]).unwrap();
            document
        });
        let receive = |buf: &mut [u8]| {
            let (count, from) = server.recv_from(buf)?;
            peer.set(Some(from));
            Ok(count)
        };
        let reply = |bytes: &[u8]| _ = server.send_to(bytes, peer.get().unwrap()).unwrap();
        let lengths = echo_datagrams(receive, reply);
        (bench.join().unwrap(), lengths)
    })
}

/// Returns the bounds, the messages and the answered messages of each class.
#[track_caller]
fn classes(document: &Value) -> Vec<(u64, u64, u64)> {
    let classes = document["lengths"].as_array().unwrap().iter();
    let classes = classes.map(|class| {
        let of = |pointer: &str| count(class, pointer);
        assert_eq!(of("/messages"), of("/latency_ns/count"), "nothing is lost: {document:#}");
        (of("/length_min"), of("/length"), of("/messages"))
    });
    classes.collect()
}

/// Asserts that the classes are those of [`CLASSES`], with their shares, and add up to all messages
/// and bytes.
#[track_caller]
fn assert_mixed(document: &Value) {
    let classes = classes(document);
    let bounds: Vec<_> = classes.iter().map(|(least, greatest, _)| (*least, *greatest)).collect();
    assert_eq!(bounds, CLASSES);
    let sent = count(document, "/messages/sent");
    assert_eq!(classes.iter().map(|(.., messages)| messages).sum::<u64>(), sent);
    let bytes: u64 = classes.iter().map(|(_, length, messages)| length * messages).sum();
    assert_eq!(count(document, "/bytes/sent"), bytes);
    assert_eq!(count(document, "/bytes/received"), bytes);
    assert_eq!(count(document, "/length"), 795, "the mean");
    for ((.., messages), share) in classes.iter().zip([0.7, 0.25, 0.05]) {
        let found = *messages as f64 / sent as f64;
        // Of 2,000 messages fewer than one run in 10^12 is further off (Hoeffding's inequality).
        assert!((found - share).abs() < 0.084, "{found} {share}");
    }
    let histograms = document["histograms"]["lengths"].as_array().unwrap();
    assert!(histograms.len() == 3 && histograms.iter().all(Value::is_string));
}

#[test]
fn datagrams_of_the_mixed_lengths_reach_a_server_in_trains_and_alone() {
    for load in [
        &["-c4", "-d1"][..],
        &["-c2", "-d8"],
        &["-c2", "-d8", "--no-offload"],
        &["-c2", "-d8", "-r50k"],
    ] {
        let common = [MIX, "-n2000", "--warmup=0", "--timeout=50s"];
        let (document, arrived) = over_udp(&[&common[..], load].concat());
        assert_mixed(&document);
        let expected = classes(&document).into_iter().map(|(_, length, count)| (length, count));
        assert_eq!(arrived, expected.collect(), "{load:?}");
    }
}

#[test]
fn every_length_of_a_range_reaches_a_server_and_is_counted_in_its_class() {
    let common = ["-l1..64", "-n3000", "--warmup=0", "--timeout=50s", "-c3", "-d4"];
    let (document, arrived) = over_udp(&common);
    assert_eq!(arrived.len(), 64, "{arrived:?}");
    let classes = classes(&document);
    assert_eq!(classes.len(), 8);
    for (least, greatest, messages) in classes {
        assert_eq!(greatest, least + 7);
        let of_class = |length: &u64| (least..=greatest).contains(length);
        let all = arrived.iter().filter(|(length, _)| of_class(length));
        assert_eq!(all.map(|(_, count)| count).sum::<u64>(), messages);
    }
    assert_eq!(document["options"]["meant"]["length"], "1..64");
}

#[test]
fn unix_datagrams_of_the_mixed_lengths_reach_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let server = UnixDatagram::bind(&path).unwrap();
    server.set_read_timeout(Some(SILENCE)).unwrap();
    let endpoint = format!("unixgram:{}", path.display());
    let peer = std::cell::RefCell::new(None);
    let (document, arrived) = std::thread::scope(|scope| {
        let bench = scope.spawn(|| {
            let flags = [MIX, "-n2000", "--warmup=0", "--timeout=50s", "-c4", &endpoint];
            let document = good_json(&flags);
            UnixDatagram::unbound().unwrap().send_to(&[], &path).unwrap();
            document
        });
        let receive = |buf: &mut [u8]| {
            let (count, from) = server.recv_from(buf)?;
            *peer.borrow_mut() = from.as_pathname().map(std::path::Path::to_owned);
            Ok(count)
        };
        let reply = |bytes: &[u8]| {
            _ = server.send_to(bytes, peer.borrow().as_ref().unwrap()).unwrap();
        };
        let arrived = echo_datagrams(receive, reply);
        (bench.join().unwrap(), arrived)
    });
    assert_mixed(&document);
    let expected = classes(&document).into_iter().map(|(_, length, count)| (length, count));
    assert_eq!(arrived, expected.collect());
}

/// Echoes a stream until its end, and returns the number of bytes.
fn echo_stream(mut stream: TcpStream) -> u64 {
    let mut buf = vec![0; 70_000];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return bytes,
            Ok(count) => {
                bytes += count as u64;
                stream.write_all(&buf[..count]).unwrap();
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn streams_of_the_mixed_lengths_carry_exactly_their_bytes() {
    for load in [
        &["-c4"][..],
        &["-c2", "-d32"],
        &["-c4", "-r50k", "--arrival=burst:40"],
        &["-c4", "--mode=connect"],
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let common = [MIX, "-n2000", "--warmup=0", "--timeout=50s", &endpoint];
        let (document, bytes) = std::thread::scope(|scope| {
            let bench = scope.spawn(|| good_json(&[&common[..], load].concat()));
            let connections = match load {
                [.., "--mode=connect"] => 2_000,
                ["-c2", ..] => 2,
                _ => 4,
            };
            let streams: Vec<_> = (0..connections)
                .map(|_| {
                    let (stream, _) = listener.accept().unwrap();
                    scope.spawn(|| echo_stream(stream))
                })
                .collect();
            let bytes = streams.into_iter().map(|stream| stream.join().unwrap()).sum::<u64>();
            (bench.join().unwrap(), bytes)
        });
        assert_mixed(&document);
        assert_eq!(count(&document, "/bytes/sent"), bytes, "{load:?}");
    }
}

/// case B7: a byte behind the shortest length, in a message of any length.
#[test]
fn a_datagram_that_is_cut_to_another_length_of_the_mixture_differs() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(SILENCE)).unwrap();
    let endpoint = format!("udp://{}", server.local_addr().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buf = [0; 2_000];
            while let Ok((1.., from)) = server.recv_from(&mut buf) {
                server.send_to(&buf[..64], from).unwrap();
            }
        });
        let flags = ["-l64:50%,1200:50%", "-n100", "--warmup=0", "-c1", &endpoint];
        let (ended, document) = bench_json(&flags);
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[], &endpoint[6..]).unwrap();
        assert_eq!(ended.code(), 3, "{document:#}");
        let long = count(&document, "/lengths/1/messages");
        assert_eq!(count(&document, "/messages/corrupted"), long);
        assert_eq!(document["first_difference"]["offset"], 64);
    });
}

#[test]
fn the_text_has_a_row_for_each_length_and_none_for_a_single_one() {
    let rows = |length: &str| {
        let ended = run_bench(&[length, "-n500", "--warmup=0", "--timeout=50s", "-c2"]);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let text = ended.stdout_text();
        let after = text.lines().skip_while(|line| !line.starts_with("bytes "));
        let rows = after.take_while(|line| !line.starts_with(' '));
        rows.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rows("-l64:50%,9000:50%"), ["bytes", "64", "9,000"]);
    assert_eq!(rows("-l1001..1002"), ["bytes", "1,001", "1,002"]);
    assert_eq!(rows("-l64..1500")[..3], ["bytes", "64-243", "244-423"]);
    assert_eq!(rows("-l64"), [""; 0]);
}
