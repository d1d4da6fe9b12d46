//! Messages from other threads.

use super::*;

fn never(_: &mut End, _: &mut Readiness, _: &mut SourceContext<'_, End>) -> Next {
    panic!("nothing is ready")
}

#[test]
fn a_message_wakes_a_loop_that_sleeps() {
    let mut reactor = reactor();
    let handle = reactor.handle();
    let mut script = Script::new(never);
    turn(&mut reactor, &mut script);
    assert!(script.messages.is_empty());
    // Neither an event nor a timer comes: without the message the second turn would not end.
    let thread = thread::spawn(move || handle.send(7).unwrap());
    turn(&mut reactor, &mut script);
    thread.join().unwrap();
    assert_eq!(script.messages, [(2, 7)]);
}

/// case L10: the stop comes after the messages, so the loop must receive all of them.
#[test]
fn messages_from_many_threads_arrive_once_each_and_in_order_per_sender() {
    const SENDERS: u32 = 8;
    const EACH: u32 = 2_000;
    let mut reactor = reactor();
    let (handle, mut script) = (reactor.handle(), Script::new(never));
    let threads: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let handle = handle.clone();
            thread::spawn(move || {
                (0..EACH).for_each(|number| handle.send(sender * EACH + number).unwrap());
            })
        })
        .collect();
    let stopper = thread::spawn(move || {
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        handle.stop();
    });
    reactor.run(&mut script).unwrap();
    stopper.join().unwrap();
    let messages: Vec<u32> = script.messages.iter().map(|(_, message)| *message).collect();
    assert_eq!(messages.len(), (SENDERS * EACH) as usize);
    for sender in 0..SENDERS {
        let own = messages.iter().copied().filter(|message| message / EACH == sender);
        assert!(own.eq(sender * EACH..(sender + 1) * EACH), "sender {sender}");
    }
}

/// case L10
#[test]
fn a_stopped_loop_gives_messages_back_and_receives_those_that_were_sent_before() {
    let mut reactor = reactor();
    let (handle, mut script) = (reactor.handle(), Script::new(never));
    (0..3).for_each(|message| handle.send(message).unwrap());
    handle.stop();
    assert_eq!(handle.send(3).unwrap_err(), SendError::Stopped(3));
    reactor.run(&mut script).unwrap();
    assert_eq!(script.messages, [(1, 0), (1, 1), (1, 2)]);
    assert_eq!(handle.send(4).unwrap_err().into_message(), 4);
    drop(reactor);
    assert_eq!(handle.send(5).unwrap_err().into_message(), 5);
}

/// case L10: when a handler stops the loop between two messages, a later run receives the
/// remaining ones, or the caller takes them out.
#[test]
fn messages_after_a_stop_by_the_handler_are_received_later_or_taken_out() {
    struct StopsAt(Vec<u32>);
    impl Handler for StopsAt {
        type Source = End;
        type Message = u32;

        fn ready(
            &mut self,
            _: &mut End,
            _: &mut Readiness,
            _: &mut SourceContext<'_, End>,
        ) -> Next {
            Next::Wait
        }

        fn message(&mut self, message: u32, _: &Sources<End>, context: &mut Context<'_, End>) {
            self.0.push(message);
            if message.is_multiple_of(2) {
                context.stop();
            }
        }
    }
    let mut reactor = reactor();
    let (handle, mut handler) = (reactor.handle(), StopsAt(Vec::new()));
    (1..=5).for_each(|message| handle.send(message).unwrap());
    reactor.run(&mut handler).unwrap();
    assert_eq!(handler.0, [1, 2]);
    assert_eq!(handle.send(6).unwrap_err(), SendError::Stopped(6), "the loop does not run");
    reactor.run(&mut handler).unwrap();
    assert_eq!(handler.0, [1, 2, 3, 4]);
    assert_eq!(reactor.into_messages(), [5]);
    assert_eq!(handle.send(7).unwrap_err(), SendError::Stopped(7));
}

#[test]
fn a_loop_that_the_handler_stopped_accepts_messages_again_when_it_runs_again() {
    let (end, far) = End::ready(1);
    let mut reactor = reactor();
    let handle = reactor.handle();
    reactor.insert(end).unwrap();
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, context| {
        end.drain(readiness);
        context.stop();
        Next::Wait
    });
    reactor.run(&mut script).unwrap();
    assert!(handle.send(1).is_err());
    (&far).write_all(b"x").unwrap();
    assert_eq!(reactor.turn(&mut script).unwrap(), LoopState::Stopped);
    reactor.inbox.resume();
    handle.send(2).unwrap();
    turn(&mut reactor, &mut script);
    assert_eq!(script.messages, [(3, 2)]);
}

#[test]
fn a_queue_that_is_full_gives_messages_back_until_the_loop_turns() {
    let mut reactor = reactor();
    let handle = reactor.handle();
    let mut accepted = 0;
    let refused = loop {
        match handle.send(accepted) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((accepted, refused), (1 << 16, SendError::Full(1 << 16)));
    let mut script = Script::new(never);
    turn(&mut reactor, &mut script);
    handle.send(accepted).unwrap();
    // A turn does not sleep while messages of the previous turn remain.
    while script.messages.len() <= accepted as usize {
        turn(&mut reactor, &mut script);
    }
    assert!(script.messages.iter().map(|(_, message)| *message).eq(0..=accepted));
    let longest = (1..=reactor.counts().turns)
        .map(|turn| script.messages.iter().filter(|(at, _)| *at == turn).count())
        .max();
    assert_eq!(longest, Some(256));
}

#[test]
fn a_message_that_is_not_received_is_dropped_with_its_reactor() {
    use std::sync::Arc;
    struct Holds;
    impl Handler for Holds {
        type Source = End;
        type Message = Arc<()>;

        fn ready(
            &mut self,
            _: &mut End,
            _: &mut Readiness,
            _: &mut SourceContext<'_, End>,
        ) -> Next {
            Next::Wait
        }
    }
    let (message, mut reactor) = (Arc::new(()), Reactor::<End, Arc<()>>::new().unwrap());
    let handle = reactor.handle();
    handle.send(Arc::clone(&message)).unwrap();
    assert_eq!(Arc::strong_count(&message), 2);
    reactor.turn(&mut Holds).unwrap();
    assert_eq!(Arc::strong_count(&message), 1, "received");
    handle.send(Arc::clone(&message)).unwrap();
    drop(reactor);
    assert_eq!(Arc::strong_count(&message), 1, "a handle keeps no message alive");
}
