//! Any chunking of writes and reads, in any order, under edge-triggered events.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::measured::LossCause;

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => (1_usize..100).prop_map(Echo),
        2 => Just(NO_INPUT),
        1 => Just(Input::Fails(libc::EINTR)),
    ]
}

fn output() -> impl Strategy<Value = Output> {
    prop_oneof![
        6 => (1_usize..100).prop_map(Takes),
        2 => Just(NO_ROOM),
        1 => Just(Output::Fails(libc::EINTR)),
    ]
}

#[derive(Debug)]
struct Scenario {
    length_bytes: usize,
    depth: usize,
    count: u64,
    scratch_bytes: usize,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
}

prop_compose! {
    fn scenario()(
        length_bytes in 1_usize..60,
        depth in 1_usize..9,
        count in 1_u64..40,
        scratch_bytes in 1_usize..80,
        inputs in vec(input(), 0..80),
        outputs in vec(output(), 0..80),
    ) -> Scenario {
        Scenario { length_bytes, depth, count, scratch_bytes, inputs, outputs }
    }
}

impl Scenario {
    fn scene(self) -> Scene {
        let options = options_without_target(Transport::Tcp, self.length_bytes, self.depth);
        let mut scene = Scene::of(&Options { count: Some(self.count), ..options });
        scene.run.scratch = vec![0; self.scratch_bytes].into();
        scene.inputs(&self.inputs).outputs(&self.outputs)
    }
}

/// Runs slices as the loop would: at once after `Again`, else after an event. An event comes for
/// each direction in which something has become possible.
fn run_to_the_end(scene: &mut Scene, count: u64) {
    for _ in 0..10_000 {
        let step = scene.woken().unwrap();
        assert!(scene.mover.in_flight() <= scene.run.in_flight_max);
        let has_input = scene.peer.echoed < scene.peer.written.len();
        assert!(step != Step::Wait || !scene.readiness.is_readable());
        if scene.run.recorder.measured.received == count {
            return;
        }
        if step == Step::Wait {
            if has_input {
                scene.readiness.merge(Readiness::READABLE);
            }
            let was_full = !scene.readiness.is_writable();
            assert!(has_input || was_full, "it waits for an event that never comes");
            scene.readiness.merge(Readiness::WRITABLE);
        }
    }
    panic!("it never receives all echoes");
}

proptest! {
    /// case B9
    #[test]
    fn each_message_is_sent_and_received_exactly_once(scenario in scenario()) {
        let count = scenario.count;
        let mut scene = scenario.scene();
        run_to_the_end(&mut scene, count);
        prop_assert_eq!(scene.run.recorder.measured, messages(count, count, 0));
        prop_assert_eq!(&scene.peer.written, &scene.bytes(0..count));
        prop_assert_eq!(scene.run.recorder.latency().count(), count);
        prop_assert!(scene.run.is_count_reached());
    }

    /// case B7
    #[test]
    fn one_wrong_byte_makes_one_corrupted_message_at_its_offset(
        scenario in scenario(),
        at: prop::sample::Index,
    ) {
        let (count, length) = (scenario.count, scenario.length_bytes);
        let at = at.index(usize::try_from(count).unwrap() * length);
        let mut scene = scenario.scene();
        scene.peer.corrupted = Some(at);
        run_to_the_end(&mut scene, count);
        let expected = Messages { corrupted: 1, ..messages(count, count, 0) };
        prop_assert_eq!(scene.run.recorder.measured, expected);
        let place = (Some((at / length) as u64), (at % length) as u64);
        prop_assert_eq!(scene.difference(), Some(place));
    }

    /// case B3: however the clock advances, every message is counted exactly once.
    #[test]
    fn sent_equals_received_plus_lost_plus_in_flight_at_any_time(
        scenario in scenario(),
        steps in vec(0_u64..TIMEOUT_NS, 1..100),
        ends_at in 0_usize..100,
    ) {
        let mut scene = scenario.scene();
        let mut now_ns = 0;
        for (turn, step) in steps.into_iter().enumerate() {
            now_ns += step;
            if turn == ends_at {
                scene.run.end_at(now_ns);
            }
            scene.at(now_ns).step();
            let recorder = &scene.run.recorder;
            prop_assert_eq!(recorder.in_flight(), scene.mover.in_flight() as u64);
            prop_assert!(recorder.measured.late <= recorder.measured.lost);
            prop_assert_eq!(recorder.measured.corrupted, 0);
        }
        scene.mover.give_up_all(LossCause::Disconnected, &mut scene.run);
        let all = scene.run.recorder.measured;
        prop_assert_eq!(all.sent, all.received + all.lost);
    }
}
