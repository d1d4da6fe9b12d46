//! Tests of `resound::ping` with options that the program refuses.

use std::net::UdpSocket;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::Duration;

use resound::ping::{Event, Options, ping};

#[test]
fn a_call_with_extreme_options_ends() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (stop, _stopper) = std::io::pipe().unwrap();
    let mut options = Options {
        endpoint: format!("udp://{}", silent.local_addr().unwrap()).parse().unwrap(),
        count: Some(3),
        interval: Duration::ZERO,
        length: 64,
        timeout: Duration::ZERO,
        socket: resound::socket::SocketOptions::default(),
        bind: Vec::new(),
        timestamps: false,
        gives_up: true,
        keeps_trying: false,
    };
    let continues = |_: Event<'_>| ControlFlow::Continue(());
    let outcome = ping(&options, stop.as_fd(), continues).unwrap();
    assert_eq!((outcome.messages.sent, outcome.messages.lost), (3, 3));

    options.length = 0;
    assert!(ping(&options, stop.as_fd(), continues).is_err());

    // The sums of such times must not overflow. The first event ends the call.
    let endless =
        Options { interval: Duration::MAX, timeout: Duration::MAX, length: 1, ..options.clone() };
    let breaks = |_: Event<'_>| ControlFlow::Break(());
    let outcome = ping(&endless, stop.as_fd(), breaks).unwrap();
    assert_eq!(outcome.messages.sent, 0);
    let echo = std::thread::spawn(move || {
        // The longer probes of the first run are still queued before it.
        let mut message = [0; 8];
        let mut received = || silent.recv_from(&mut message).unwrap();
        let (_, peer) =
            std::iter::repeat_with(&mut received).find(|(length, _)| *length == 1).unwrap();
        silent.send_to(&message[..1], peer).unwrap();
    });
    let one = Options { count: Some(1), ..endless };
    let outcome = ping(&one, stop.as_fd(), continues).unwrap();
    assert_eq!(outcome.messages.received, 1);
    assert!(outcome.has_come_back() && !outcome.is_cut_short);
    echo.join().unwrap();
}
