//! What a stream may take in after FIN, and what all streams may be owed.

use super::*;

/// case S11: each read counts as a whole KiB.
#[test]
fn a_lingering_stream_discards_a_bounded_part_of_input_that_does_not_end() {
    let mut scene = Scene::new(&[], &[]);
    scene.mover.finish();
    assert_eq!(scene.step(), Step::Flushed);
    scene.mover.linger();
    let reads_max = 16 << 10;
    scene.stream.inputs.extend(vec![Bytes(b"12345678"); reads_max + 10]);
    while scene.step() == Step::Again {}
    assert_eq!(scene.stream.reads, reads_max);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.stream.reads, scene.stream.inputs.len()), (reads_max, 10));
}

/// cases S1, S2: a stream that may be owed nothing takes in what its socket takes of the echo.
#[test]
fn when_all_owe_too_much_a_stream_is_read_as_far_as_its_echo_is_sent() {
    let inputs = [Bytes(b"12345678"), Bytes(b"rest")];
    let mut scene = Scene::new(&inputs, &[Takes(3), WOULD_BLOCK]);
    scene.unsent_bytes = UnsentBytes::of(UNSENT_BYTES_MAX);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.mover.has_unsent()), ("123", false));
    assert_eq!((scene.heard.as_slice(), scene.counters.traffic.bytes_in), (&b"123"[..], 3));
    // Until there is room again, it does not even look.
    let peeks = scene.stream.peeks;
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.stream.peeks, peeks);
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "12345678rest");
    assert_eq!(scene.unsent_bytes.count(), UNSENT_BYTES_MAX);
}

/// case S2: and as before once others have been paid.
#[test]
fn what_a_stream_owes_is_counted_until_it_is_paid_or_the_stream_is_gone() {
    let unsent_bytes = UnsentBytes::of(UNSENT_BYTES_MAX - (64 << 10));
    let before = unsent_bytes.count();
    for is_paid in [true, false] {
        let mut scene = Scene::new(&[Bytes(b"12345678")], &[Takes(3), WOULD_BLOCK]);
        scene.unsent_bytes = unsent_bytes.clone();
        assert_eq!(scene.step(), Step::Wait);
        assert_eq!(unsent_bytes.count(), before + 5);
        if is_paid {
            scene.readiness.merge(Readiness::WRITABLE);
            assert_eq!(scene.step(), Step::Wait);
            assert_eq!(unsent_bytes.count(), before);
        }
        drop(scene);
        assert_eq!(unsent_bytes.count(), before);
    }
}
