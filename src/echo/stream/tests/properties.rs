//! Property tests of the byte mover with a model of a socket and of edge-triggered events.

mod model;

use proptest::collection::vec;
use proptest::prelude::*;

use self::model::{Happening, Model, Quirk, model};
use super::*;

/// Runs the mover as the loop does, until nothing more happens. As in the loop, a slice runs only
/// if an edge has come or the slice before asked for another. Returns true if the mover says that
/// the stream is finished.
fn run(model: &mut Model) -> io::Result<bool> {
    let now = Moment::default();
    let mut mover = ByteMover::new(now);
    if model.starts_in_bulk {
        mover.phase = Phase::Echoing(BulkDetector::bulk());
    }
    let (mut pipes, splices) = (PipePool::new(true), model.splices);
    let (mut readiness, mut counters) = (Readiness::NONE, TransportCounters::default());
    let reply = model.reply.clone();
    let all_bytes = if model.is_at_unsent_limit { UNSENT_BYTES_MAX } else { 0 };
    let unsent_bytes = UnsentBytes::of(all_bytes);
    let mut observed = Vec::new();
    let mut scratch = vec![0; model.scratch_bytes];
    let mut is_due = false;
    loop {
        let happened = model.happen();
        if std::mem::take(&mut model.finish_asked) {
            mover.finish();
            is_due = true;
        }
        let edges = std::mem::take(&mut model.edges);
        readiness.merge(edges);
        if edges == Readiness::NONE && !is_due {
            if happened {
                continue;
            }
            return Ok(false);
        }
        let mut work = StreamWork {
            scratch: &mut scratch,
            pipes: &mut pipes,
            splices,
            reply: &reply,
            unsent_bytes: &unsent_bytes,
            counters: &mut counters,
            now,
        };
        let on_message = |_: &Model, bytes: &[u8]| observed.extend_from_slice(bytes);
        let step = mover.advance(model, &mut readiness, &mut work, on_message);
        check_counters(model, &counters, &observed);
        let step = step?;
        let unsent = match mover.unsent.as_deref() {
            None => 0,
            // If splicing out of a pipe is refused, the copy may be longer than a read.
            Some([unsent]) => unsent.unsent_bytes(&reply).unwrap_or(model.in_pipe),
        };
        let own_bytes = unsent_bytes.count() - all_bytes;
        assert_eq!(mover.counted_bytes().unwrap_or(0), own_bytes);
        assert!(splices || !model.is_at_unsent_limit || own_bytes == 0, "{own_bytes} bytes kept");
        let unsent_max = if let Reply::Text(text) = &reply { text.len() } else { scratch.len() };
        assert!(splices || unsent <= unsent_max, "{unsent} bytes are unsent");
        assert!(model.lingers || model.output.len() + unsent == model.due);
        is_due = match step {
            Step::Again => true,
            Step::Wait => {
                let has_seen_the_end = has_seen_the_end(model, &mover, readiness);
                assert!(has_seen_the_end, "waits with {readiness:?} and {unsent} unsent bytes");
                false
            }
            Step::Flushed => {
                assert!(!model.lingers, "flushed twice");
                assert_eq!(model.output.len(), model.due);
                model.lingers = true;
                mover.linger();
                true
            }
            Step::Finished => return Ok(true),
        };
    }
}

/// Returns true if the mover has seen that it cannot go on before another event.
fn has_seen_the_end(model: &Model, mover: &ByteMover, readiness: Readiness) -> bool {
    let waits_for_room = !readiness.is_writable();
    if mover.has_unsent() {
        return waits_for_room;
    }
    // At the limit of unsent bytes, the mover reads only when the socket has room.
    !readiness.is_readable() || model.is_at_unsent_limit && waits_for_room
}

/// Compares the counters with what the stream has received and sent. They must agree also after
/// the stream has failed.
fn check_counters(model: &Model, counters: &TransportCounters, observed: &[u8]) {
    let traffic = &counters.traffic;
    assert_eq!(traffic.bytes_in, (model.consumed - model.discarded) as u64);
    assert_eq!(traffic.bytes_out, model.output.len() as u64);
    assert!(traffic.bytes_spliced <= traffic.bytes_out);
    assert!(traffic.messages_in <= traffic.bytes_in && traffic.messages_out <= traffic.bytes_out);
    if !model.splices {
        assert_eq!(traffic.bytes_spliced, 0);
        assert_eq!(observed, &model.input[..model.consumed - model.discarded]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// cases S1 S2 S4 S5 S8 S9 S13 S16: for any input in any chunks, any short writes and signals,
    /// and with or without a half-close at any point, the output equals the input. Bytes go by
    /// copies, through pipes, or both in turn.
    #[test]
    fn every_byte_comes_back_in_order(
        mut model in model(prop_oneof![Just(None), Just(Some(Happening::Fin))]),
    ) {
        // The peer reads everything in the end, in steps that leave much to flush.
        model.happenings.extend(vec![Happening::Room(100); 30]);
        let ends = model.happenings.iter().any(|happening| matches!(happening, Happening::Fin));
        prop_assert_eq!(run(&mut model)?, ends);
        prop_assert_eq!(&model.output, &model.input);
    }

    /// case S11: the server ends the stream at any point. It answers everything that it has read,
    /// discards everything that comes after, and sees the peer's FIN.
    #[test]
    fn a_stream_that_the_server_ends_answers_what_it_has_read(
        mut model in model(Just(Some(Happening::Finish))),
    ) {
        model.happenings.extend(vec![Happening::Room(100); 30]);
        model.happenings.push_back(Happening::Fin);
        prop_assert!(run(&mut model)?);
        prop_assert!(model.lingers);
        prop_assert_eq!(model.consumed, model.input.len());
        prop_assert_eq!(&model.output[..], &model.input[..model.output.len()]);
    }

    /// cases S6 S7 S8: a call fails at any point. The stream ends with this error and makes no
    /// other call. The output until then is the beginning of the input, and everything is counted.
    #[test]
    fn an_error_at_any_point_ends_the_stream(
        mut model in model(prop_oneof![Just(None), Just(Some(Happening::Fin))]),
        failures in vec((any::<prop::sample::Index>(), failure()), 1..3),
    ) {
        model.happenings.extend(vec![Happening::Room(100); 30]);
        for (at, number) in failures {
            let at = at.index(model.quirks.len() + 1);
            model.quirks.insert(at, Quirk::Fails(number));
        }
        let outcome = run(&mut model);
        match (model.failure, outcome) {
            (None, outcome) => {
                outcome?;
                prop_assert_eq!(&model.output, &model.input);
            }
            (Some(0), Err(error)) => prop_assert_eq!(error.kind(), ErrorKind::WriteZero),
            (Some(number), Err(error)) => prop_assert_eq!(error.raw_os_error(), Some(number)),
            (Some(number), Ok(_)) => prop_assert!(false, "error {} is not returned", number),
        }
        prop_assert_eq!(&model.output[..], &model.input[..model.output.len()]);
    }

    /// cases S1 S2 S5: each chunk gets its whole reply, however slowly the peer takes it.
    #[test]
    fn a_reply_is_sent_once_for_each_chunk(
        mut model in model(prop_oneof![Just(None), Just(Some(Happening::Fin))]),
        text in vec(any::<u8>(), 0..40),
    ) {
        // A server with a fixed reply or none does not splice.
        (model.splices, model.starts_in_bulk) = (false, false);
        model.reply = match &text[..] {
            [] => Reply::Nothing,
            text => Reply::Text(text.into()),
        };
        // Enough room for the longest text even if the bytes come one by one.
        model.happenings.extend(vec![Happening::Room(4_000); 30]);
        let ends = model.happenings.iter().any(|happening| matches!(happening, Happening::Fin));
        prop_assert_eq!(run(&mut model)?, ends);
        prop_assert_eq!(model.consumed, model.input.len());
        prop_assert_eq!(model.output.len(), model.due);
        prop_assert!(model.output.chunks(text.len().max(1)).all(|sent| sent == text));
    }
}

/// Generates errors that end a stream, and 0 for a write that takes nothing.
fn failure() -> impl Strategy<Value = i32> {
    prop::sample::select(vec![
        0,
        libc::ECONNRESET,
        libc::EPIPE,
        libc::ETIMEDOUT,
        libc::EHOSTUNREACH,
    ])
}
