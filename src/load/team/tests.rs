//! A team starts together, and a loop that fails does not hang the others.

use std::sync::mpsc;

use super::*;
use crate::endpoint::ResolvedEndpoint;
use crate::load::Spacing;
use crate::testing::WAIT_MAX;

fn starter(loops: usize) -> (Vec<Reactor<Source, Command>>, Vec<Arrival>) {
    let team = Team::new(loops, Spin::Never, &[]).unwrap();
    let starter = Arc::new(Starter::new(team.handles()));
    (team.reactors, (0..loops).map(|_| Arrival(Arc::clone(&starter))).collect())
}

fn commands(reactor: Reactor<Source, Command>) -> Vec<Command> {
    reactor.into_messages().into()
}

/// case B16
#[test]
fn the_last_arrival_tells_all_loops_the_same_start() {
    let (mut reactors, mut arrivals) = starter(3);
    arrivals.truncate(2);
    arrivals.pop();
    assert!(commands(reactors.remove(0)).is_empty(), "two loops are not ready");
    drop(arrivals);
    let all: Vec<_> = reactors.into_iter().map(commands).collect();
    assert_eq!(all[0].len(), 1, "every loop has arrived");
    assert_eq!(all[0], all[1]);
}

/// case B16
#[test]
fn loops_sleep_between_messages_if_they_outnumber_the_cpus() {
    let target = ResolvedEndpoint::Tcp(([127, 0, 0, 1], 1).into());
    let closed = Options::closed_loop(target, 1);
    let open = Options { rate: Some(1_000), ..closed.clone() };
    let polls = Options { spin: Some(Spin::Always), ..open.clone() };
    let cpus = available_parallelism().unwrap().get();
    let sleeps = cfg!(target_os = "linux").then_some(Spin::Never);
    assert_eq!(spin(&open, cpus, &[]), None);
    assert_eq!(spin(&open, cpus + 1, &[]), sleeps);
    assert_eq!(spin(&polls, cpus + 1, &[]), Some(Spin::Always));
    assert_eq!(spin(&closed, cpus + 1, &[]), None, "a closed loop waits for echoes alone");
    assert_eq!(spin(&open, 1, &[3, 3]), None);
    assert_eq!(spin(&open, 2, &[3, 3]), sleeps, "both loops are on one CPU");
}

/// case B16: a share has the messages of its loop among the first `count` after the warm-up.
#[test]
fn the_shares_of_a_count_are_the_first_messages_of_the_schedule() {
    let target = ResolvedEndpoint::Tcp(([127, 0, 0, 1], 1).into());
    let of_loop = |index| Options {
        share: Share::WHOLE.split(index, 2),
        rate: Some(1_000),
        spacing: Spacing::Fixed,
        // Seven messages: the first measured one belongs to the second loop.
        warmup: Duration::from_millis(7),
        count: Some(3),
        ..Options::closed_loop(target.clone(), 2)
    };
    let counts = [0, 1].map(|index| of_loop(index).own_count());
    assert_eq!(
        counts,
        [Some(1), Some(2)],
        "messages 7 and 9 are of the second loop, 8 of the first"
    );
}

/// case B16
#[test]
fn a_loop_that_panics_stops_the_others_and_is_an_error() {
    /// Panics at the first interval of the second loop.
    struct Panics(usize);
    impl Observer for Panics {
        fn interval(&mut self, _: crate::measured::Interval) {
            assert_ne!(self.0, 1, "on purpose");
        }
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = ResolvedEndpoint::Tcp(listener.local_addr().unwrap());
        let options = Options {
            duration: Some(Duration::from_secs(3_600)),
            interval: Some(Duration::from_millis(1)),
            ..Options::closed_loop(target, 3)
        };
        let team = Team::new(3, Spin::Never, &[]).unwrap();
        sender.send(team.run(&options, Panics)).unwrap();
    });
    let result = receiver.recv_timeout(WAIT_MAX).expect("the others are stopped");
    assert_eq!(result.unwrap_err().to_string(), "cannot run the loop: it panicked");
}
