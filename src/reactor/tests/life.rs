//! Tests of stopping, the clock and signals.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// case L7
#[test]
fn stopping_from_many_threads_many_times_ends_the_loop_once() {
    let (end, _far) = End::pair(1);
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let stop = reactor.handle();
            thread::spawn(move || (0..100).for_each(|_| stop.stop()))
        })
        .collect();
    let mut script = Script::new(|_: &mut End, _, _| panic!("nothing is ready"));
    reactor.run(&mut script).unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(reactor.sources().len(), 1, "the reactor keeps its sources");
}

/// case L7
#[test]
fn a_stop_before_the_loop_begins_ends_its_first_turn_and_every_later_one() {
    let mut reactor = reactor();
    let stop = reactor.handle();
    stop.stop();
    drop(stop);
    let mut script = Script::new(|_: &mut End, _, _| Next::Wait);
    for turns in 1..=3 {
        reactor.run(&mut script).unwrap();
        assert_eq!(reactor.counts().turns, turns);
    }
}

/// case L7: a handle may outlive its reactor.
#[test]
fn a_stop_after_the_reactor_is_gone_does_nothing() {
    let stop = reactor().handle();
    stop.stop();
    stop.stop();
}

#[test]
fn a_stop_by_the_handler_ends_one_run() {
    let (end, _far) = End::ready(1);
    let mut script = Script::new(|_: &mut End, _, context| {
        context.stop();
        Next::Again
    });
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    reactor.run(&mut script).unwrap();
    reactor.run(&mut script).unwrap();
    assert_eq!(reactor.counts().turns, 2);
}

/// case L8: after a slice that ran past a deadline the tick comes once. The next poll then sleeps
/// until the loop is stopped.
#[test]
fn an_overdue_deadline_fires_once() {
    let (end, _far) = End::ready(1);
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    let stop = reactor.handle();
    let deadline = Instant::now() + Duration::from_millis(1);
    let mut script = Script::new(|end: &mut End, readiness, _| {
        end.drain(readiness);
        while Instant::now() < deadline + Duration::from_millis(20) {
            thread::yield_now();
        }
        Next::Wait
    });
    script.deadlines = vec![deadline];
    turn(&mut reactor, &mut script);
    assert!(script.ticks == 1 && deadline < Instant::now());
    turn(&mut reactor, &mut script);
    assert_eq!(script.ticks, 2, "the overdue tick");
    let stopper = thread::spawn(move || stop.stop());
    assert_eq!(reactor.turn(&mut script).unwrap(), LoopState::Stopped);
    stopper.join().unwrap();
    assert_eq!(script.ticks, 3, "missed ticks do not come in a burst");
}

/// case L8
#[test]
fn time_never_goes_backwards_between_slices() {
    let (end, _far) = End::ready(1);
    let mut times = Vec::new();
    let mut script = Script::new(|_: &mut End, _, context| {
        times.push(context.now());
        Next::Again
    });
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    for _ in 0..100 {
        turn(&mut reactor, &mut script);
    }
    drop(script);
    assert!(times.is_sorted());
}

/// The interrupted polls of the test below.
const INTERRUPTIONS: usize = 3;
const CHILD: &str = "RESOUND_TEST_INTERRUPTED_POLL";

/// case L1: stopping and continuing a process interrupts the poll of every thread (signal(7)). A
/// signal handler would interrupt only the thread that the system picks. The test therefore runs
/// itself as a child process, and stops and continues the child.
#[test]
fn an_interrupted_poll_is_an_ordinary_turn() {
    if std::env::var_os(CHILD).is_some() {
        sleep_until_interrupted();
        return;
    }
    let this_test = "reactor::tests::life::an_interrupted_poll_is_an_ordinary_turn";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this_test])
        .env(CHILD, "")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let deadline = Instant::now() + WAIT_MAX;
    let status = loop {
        kill_process(pid, Signal::STOP).unwrap();
        kill_process(pid, Signal::CONT).unwrap();
        thread::sleep(Duration::from_millis(5));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the child's poll was never interrupted");
        }
    };
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}

/// Runs a loop without events and with deadlines an hour away. Only interruptions end its polls.
fn sleep_until_interrupted() {
    let (end, _far) = End::pair(1);
    let mut script = Script::new(|_: &mut End, _, _| panic!("nothing is ready"));
    let now = Instant::now();
    let later = now + Duration::from_secs(3600);
    // The tick of the last interrupted turn returns a time that is past, so the next turn does not
    // sleep.
    script.deadlines = vec![now];
    script.deadlines.extend([later; INTERRUPTIONS]);
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    // The first turn does not sleep, then come the interrupted turns, then the overdue tick.
    let turns = 1 + INTERRUPTIONS + 1;
    for _ in 0..turns {
        turn(&mut reactor, &mut script);
    }
    assert_eq!(script.ticks, turns);
    assert_eq!(
        reactor.counts(),
        LoopCounts { turns: turns as u64, polls: turns as u64, ..LoopCounts::default() }
    );
}

#[cfg(feature = "signals")]
mod signals {
    use signal_hook::consts::{SIGKILL, SIGSEGV, SIGUSR2, SIGWINCH};
    use signal_hook::low_level::raise;

    use super::*;

    #[test]
    fn a_watched_signal_reaches_the_handler_and_the_sources_it_wakes_run_in_that_turn() {
        let (end, _far) = End::pair(1);
        let mut woken = 0;
        let mut script = Script::new(|_: &mut End, readiness: &mut Readiness, _| {
            assert_eq!(*readiness, Readiness::NONE);
            woken += 1;
            Next::Wait
        });
        let mut reactor = reactor();
        reactor.insert(end).unwrap();
        reactor.watch_signals(&[SIGUSR2]).unwrap();
        turn(&mut reactor, &mut script);
        for times in 1..=3 {
            raise(SIGUSR2).unwrap();
            // A signal is both an event and an interruption, and either may come first.
            while script.signals.len() < times {
                turn(&mut reactor, &mut script);
            }
        }
        assert_eq!(script.signals, [SIGUSR2; 3]);
        drop(script);
        assert_eq!(woken, 3);
    }

    #[test]
    fn a_signal_that_comes_before_the_loop_begins_is_not_lost() {
        let mut script = Script::new(|_: &mut End, _, _| Next::Wait);
        let mut reactor = reactor();
        reactor.watch_signals(&[SIGWINCH]).unwrap();
        raise(SIGWINCH).unwrap();
        while script.signals.is_empty() {
            turn(&mut reactor, &mut script);
        }
        assert_eq!(script.signals, [SIGWINCH]);
    }

    #[test]
    fn a_signal_that_cannot_be_caught_is_an_error() {
        for signal in [SIGKILL, SIGSEGV] {
            let error = reactor().watch_signals(&[SIGUSR2, signal]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
