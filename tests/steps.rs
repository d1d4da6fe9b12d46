//! Each step of the ladder in `examples/steps/` has the flaw that its text names, and the next step
//! does not have it.
//!
//! A flaw is shown by a state or by a count, never by a clock: bytes stay in a socket while the
//! server does other work, or the server prints how many calls it made. The system's table of
//! connections shows how many bytes a server has left unread.
#![cfg(target_os = "linux")]
// A failed unwrap is a failed test. The tests do not call the steps' `main`.
#![allow(clippy::unwrap_used, dead_code)]

#[path = "steps/server.rs"]
mod server;
#[path = "../examples/steps/step1_blocking.rs"]
mod step1_blocking;
#[path = "../examples/steps/step2_threads.rs"]
mod step2_threads;
#[path = "../examples/steps/step3_busy.rs"]
mod step3_busy;
#[path = "../examples/steps/step4_poll.rs"]
mod step4_poll;
#[path = "../examples/steps/step5_edges.rs"]
mod step5_edges;
#[path = "../examples/steps/step6_slab.rs"]
mod step6_slab;
#[path = "../examples/steps/step7_unfair.rs"]
mod step7_unfair;
#[path = "../examples/steps/step8_fair.rs"]
mod step8_fair;
#[path = "../src/testing/wait.rs"]
mod wait;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;

use self::server::Server;
use self::wait::wait_until;

/// The buffer of steps 3 to 8 takes 16 bytes.
const MANY: usize = 4096;

/// Sends a message and receives its echo.
#[track_caller]
fn echo(client: &mut TcpStream, message: &[u8]) {
    client.write_all(message).unwrap();
    receive(client, message);
}

#[track_caller]
fn receive(client: &mut TcpStream, expected: &[u8]) {
    let mut received = vec![0; expected.len()];
    client.read_exact(&mut received).unwrap();
    assert_eq!(received, expected);
}

/// Receives what has arrived, without waiting.
fn received_now(client: &mut TcpStream) -> Vec<u8> {
    client.set_nonblocking(true).unwrap();
    let mut received = Vec::new();
    let ended = client.read_to_end(&mut received);
    client.set_nonblocking(false).unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::WouldBlock);
    received
}

fn connect_many(server: &Server, count: usize) -> Vec<TcpStream> {
    let connect = |_| {
        let mut client = server.connect();
        echo(&mut client, b"hello");
        client
    };
    (0..count).map(connect).collect()
}

#[test]
fn each_step_fits_on_two_screens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/steps");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 8);
    for file in files {
        let lines = std::fs::read_to_string(file.path()).unwrap().lines().count();
        assert!(lines <= 100, "{} has {lines} lines", file.path().display());
    }
}

#[test]
fn step_1_serves_the_second_client_only_after_the_first_has_left() {
    let server = Server::start(1);
    let mut first = server.connect();
    echo(&mut first, b"first");
    let mut second = server.connect();
    second.write_all(b"second").unwrap();
    wait_until("its bytes", || server.unread(&second) == Some(6));
    for _ in 0..20 {
        echo(&mut first, b"more");
    }
    assert_eq!((server.unread(&second), received_now(&mut second)), (Some(6), Vec::new()));
    drop(first);
    receive(&mut second, b"second");
}

#[test]
fn step_2_serves_the_second_client_beside_the_first() {
    let server = Server::start(2);
    let mut first = server.connect();
    echo(&mut first, b"first");
    echo(&mut server.connect(), b"second");
    echo(&mut first, b"more");
}

#[test]
fn step_2_has_a_thread_for_each_idle_client_and_step_3_has_none() {
    for (number, threads_more) in [(2, 32), (3, 0)] {
        let server = Server::start(number);
        let threads = server.threads();
        let _clients = connect_many(&server, 32);
        assert_eq!(server.threads() - threads, threads_more, "step {number}");
    }
}

#[test]
fn step_3_runs_all_the_time_while_no_client_sends() {
    let server = Server::start(3);
    let mut client = server.connect();
    echo(&mut client, b"hello");
    let before = server.cpu_ticks();
    wait_until("CPU time", || server.cpu_ticks() >= before + 10);
    drop(client);
    let [passes] = server.counts();
    assert!(passes > 1000, "{passes}");
}

/// Returns how often a server polled, and what it looked at, while one of its clients connected,
/// exchanged ten messages and left, and the others were idle.
fn polls_and_looks(server: &Server) -> (usize, usize) {
    let mut clients = connect_many(server, 41);
    drop(clients.pop());
    let before: [usize; 2] = server.counts();
    let mut client = server.connect();
    for _ in 0..10 {
        echo(&mut client, b"hello");
    }
    drop(client);
    let [polls, looks] = server.counts();
    (polls - before[0], looks - before[1])
}

/// Each of the twelve events ends at most one poll: the connection, ten messages, the end.
#[test]
fn step_4_sleeps_until_an_event_but_looks_at_every_descriptor() {
    let (polls, looks) = polls_and_looks(&Server::start(4));
    assert!(polls <= 12, "{polls}");
    assert!(looks >= polls * 41, "{looks} at {polls} polls");
}

/// A new connection is writable at once, which is an event more than in step 4. An event can come
/// twice if it comes while the kernel is copying the list of events.
#[test]
fn step_5_looks_only_at_descriptors_that_have_changed() {
    let (_, looks) = polls_and_looks(&Server::start(5));
    assert!(looks <= 2 * 13, "{looks}");
}

#[test]
fn step_4_moves_all_bytes_although_it_does_not_drain() {
    let server = Server::start(4);
    echo(&mut server.connect(), &[7; MANY]);
}

/// The flaw of this step. The server serves another client in the meantime, so it is not busy.
#[test]
fn step_5_leaves_bytes_in_the_socket_until_more_arrive() {
    let server = Server::start(5);
    let mut other = server.connect();
    echo(&mut other, b"hello");
    let mut client = server.connect();
    echo(&mut client, b"hello");
    client.write_all(&[7; MANY]).unwrap();
    receive(&mut client, &[7; 16]);
    for _ in 0..20 {
        echo(&mut other, b"more");
    }
    received_now(&mut client);
    let left = server.unread(&client).unwrap();
    assert!(left >= MANY / 2, "{left}");
    for _ in 0..20 {
        echo(&mut other, b"more");
    }
    assert_eq!((server.unread(&client), received_now(&mut client)), (Some(left), Vec::new()));
    // One byte more is an edge, and the edge is worth one buffer.
    client.write_all(&[7]).unwrap();
    receive(&mut client, &[7; 16]);
}

/// Two connections that arrive together are one edge of the listener.
#[test]
fn step_5_leaves_a_client_in_the_queue_of_the_listener() {
    let server = Server::start(5);
    let mut other = server.connect();
    echo(&mut other, b"hello");
    server.halt();
    let (mut first, mut second) = (server.connect(), server.connect());
    second.write_all(b"second").unwrap();
    wait_until("both", || server.unread(&first) == Some(0) && server.unread(&second) == Some(6));
    server.resume();
    echo(&mut first, b"first");
    for _ in 0..20 {
        echo(&mut other, b"more");
    }
    assert_eq!((server.unread(&second), received_now(&mut second)), (Some(6), Vec::new()));
    let _third = server.connect();
    receive(&mut second, b"second");
}

#[test]
fn step_6_drains_the_socket_and_the_listener() {
    let server = Server::start(6);
    let mut client = server.connect();
    echo(&mut client, &[7; MANY]);
    server.halt();
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    let are_queued = || clients.iter().all(|client| server.unread(client).is_some());
    wait_until("all three", are_queued);
    server.resume();
    clients.iter_mut().for_each(|client| echo(client, b"hello"));
}

/// Starts a server that may have one client. While it is halted, a new client connects, and then
/// the old one resets its connection. Returns the new client.
fn new_tenant(server: &Server) -> TcpStream {
    let mut old = server.connect();
    echo(&mut old, b"old");
    server.halt();
    let new = server.connect();
    wait_until("the new client", || server.unread(&new) == Some(0));
    let old = socket2::Socket::from(old);
    let port = old.local_addr().unwrap().as_socket().unwrap().port();
    old.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(old);
    wait_until("the reset", || server.unread_of_port(port).is_none());
    server.resume();
    new
}

#[test]
fn step_6_closes_the_new_tenant_of_a_slot() {
    // The flaw shows when the kernel lists the listener before the old client. An event of the old
    // client that the server has not read yet puts it first, and the new client is then served.
    let is_closed = |_| {
        let server = Server::start_with_limit(6, 1);
        let mut new = new_tenant(&server);
        if new.write_all(b"new").is_err() {
            return true;
        }
        match new.read(&mut [0; 16]) {
            Ok(count) => count == 0,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                true
            }
        }
    };
    assert!((0..20).any(is_closed), "the server closed the new client");
}

#[test]
fn steps_7_and_8_do_not_give_the_event_of_a_closed_client_to_the_next() {
    for number in [7, 8] {
        let server = Server::start_with_limit(number, 1);
        let mut new = new_tenant(&server);
        echo(&mut new, b"new");
    }
}

/// Sends a flood and one byte of another client while the server is halted, and returns both
/// clients as soon as the byte has come back.
fn flood_and_byte(server: &Server) -> (TcpStream, TcpStream) {
    let (mut flood, mut other) = (server.connect(), server.connect());
    echo(&mut flood, b"flood");
    echo(&mut other, b"other");
    server.halt();
    flood.write_all(&[7; 4 * MANY]).unwrap();
    wait_until("the flood", || server.unread(&flood) == Some(4 * MANY));
    other.write_all(b"!").unwrap();
    wait_until("the byte", || server.unread(&other) == Some(1));
    server.resume();
    receive(&mut other, b"!");
    (flood, other)
}

/// 16 bytes take a read and a write.
#[test]
fn step_7_serves_the_other_client_only_after_the_whole_flood() {
    // If the kernel reports the other client first, a try shows nothing.
    let is_starved = |_| {
        let server = Server::start(7);
        let (flood, other) = flood_and_byte(&server);
        let is_flood_served = server.unread(&flood) == Some(0);
        drop(other);
        let [longest] = server.counts();
        is_flood_served && longest > 2 * 4 * MANY / 16
    };
    assert!((0..20).any(is_starved), "the other client waits for the whole flood");
}

#[test]
fn step_8_bounds_each_slice_and_still_moves_the_whole_flood() {
    let server = Server::start(8);
    let (mut flood, other) = flood_and_byte(&server);
    receive(&mut flood, &[7; 4 * MANY]);
    drop(other);
    assert_eq!(server.counts(), [32]);
}

/// Step 5 has no part in this: it leaves the bytes in the socket.
#[test]
fn a_client_that_ends_its_sending_side_gets_all_its_bytes() {
    for number in [1, 2, 3, 4, 6, 7, 8] {
        let server = Server::start(number);
        let mut client = server.connect();
        client.write_all(&[7; MANY]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, [7; MANY], "step {number}");
    }
}

/// The client sends more than the buffers of both sockets hold, and reads nothing until the server
/// has stopped reading. The server's writes are then cut short or refused.
#[test]
fn steps_3_4_6_and_8_keep_what_a_full_socket_does_not_take() {
    // The period has no divisor in common with the buffers.
    let sample: Vec<u8> = (0..251).cycle().take(251 * 20).collect();
    for number in [3, 4, 6, 8] {
        let server = Server::start(number);
        let mut client = server.connect();
        client.set_nonblocking(true).unwrap();
        let (mut sent, mut refused) = (0, 0);
        // A server that is only slow makes this test weaker, and does not make it fail.
        while refused < 50 {
            match client.write(&sample[sent % 251..][..MANY]) {
                Ok(count) => (sent, refused) = (sent + count, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    refused += 1;
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                Err(error) => panic!("{error}"),
            }
        }
        client.set_nonblocking(false).unwrap();
        let mut received = vec![0; sent];
        client.read_exact(&mut received).unwrap();
        let is_right = received.iter().zip(sample.iter().cycle()).all(|(got, sent)| got == sent);
        assert!(is_right, "step {number}");
    }
}
