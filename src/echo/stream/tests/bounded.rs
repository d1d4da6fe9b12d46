//! Tests of two bounds: what a stream may discard after FIN, and the unsent bytes of all streams.

use super::*;

/// case S11: each read counts as at least 1 KiB.
#[test]
fn a_lingering_stream_discards_a_bounded_part_of_endless_input() {
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

/// cases S1, S2: all streams together have as many unsent bytes as they may, so this one may have
/// none.
#[test]
fn at_the_limit_of_unsent_bytes_a_stream_reads_only_what_its_socket_takes() {
    let inputs = [Bytes(b"12345678"), Bytes(b"rest")];
    let mut scene = Scene::new(&inputs, &[Takes(3), WOULD_BLOCK]);
    scene.unsent_bytes = UnsentBytes::of(UNSENT_BYTES_MAX);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!((scene.written(), scene.mover.has_unsent()), ("123", false));
    assert_eq!((scene.observed.as_slice(), scene.counters.traffic.bytes_in), (&b"123"[..], 3));
    // Until the socket has room again, the stream does not even peek.
    let peeks = scene.stream.peeks;
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.stream.peeks, peeks);
    scene.readiness.merge(Readiness::WRITABLE);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.written(), "12345678rest");
    assert_eq!(scene.unsent_bytes.count(), UNSENT_BYTES_MAX);
}

/// case S2
#[test]
fn unsent_bytes_are_counted_until_they_are_sent_or_the_stream_is_dropped() {
    let unsent_bytes = UnsentBytes::of(UNSENT_BYTES_MAX - (64 << 10));
    let before = unsent_bytes.count();
    for is_sent in [true, false] {
        let mut scene = Scene::new(&[Bytes(b"12345678")], &[Takes(3), WOULD_BLOCK]);
        scene.unsent_bytes = unsent_bytes.clone();
        assert_eq!(scene.step(), Step::Wait);
        assert_eq!(unsent_bytes.count(), before + 5);
        if is_sent {
            scene.readiness.merge(Readiness::WRITABLE);
            assert_eq!(scene.step(), Step::Wait);
            assert_eq!(unsent_bytes.count(), before);
        }
        drop(scene);
        assert_eq!(unsent_bytes.count(), before);
    }
}
