"""Small wrong changes to the loop, and the test that catches each."""

from dataclasses import dataclass


@dataclass
class Mutation:
    """A wrong change. `before` occurs once in `file`."""

    name: str
    says: str
    file: str
    before: str
    after: str
    # One of the tests that catch it.
    caught_by: str


MUTATIONS = [
    Mutation(
        "act-while-marking",
        "runs a source as soon as its event is read, while the other events of the batch are not",
        "src/reactor/turn.rs",
        "        self.mark();\n\n        // Run each",
        """\
        let events = self.events.iter().filter(|event| event.token() != INBOX);
        let event = |event: &mio::event::Event| (Key::from_token(event.token()), Readiness::from_event(event));
        for (key, readiness) in events.map(event).collect::<Vec<_>>() {
            self.run_slice(handler, key, readiness);
            self.apply_requests(handler);
        }
        self.mark();

        // Run each""",
        "reactor::tests::fairness::a_source_gets_one_slice_per_turn_however_often_it_is_marked",
    ),
    Mutation(
        "drop-the-generation",
        "gives all tenants of a slot the same key",
        "src/reactor/slots.rs",
        "        self.generation = self.generation.wrapping_add(1);\n",
        "",
        "reactor::tests::tenants::the_new_tenant_of_a_slot_receives_nothing_meant_for_the_former_one",
    ),
    Mutation(
        "clear-readiness-too-early",
        "forgets after each slice what the source could still do",
        "src/reactor/turn.rs",
        "        slot.readiness = readiness;\n",
        "        slot.readiness = Readiness::NONE;\n",
        "reactor::tests::fairness::"
        "a_source_finds_in_its_next_slice_the_readiness_that_the_last_one_left",
    ),
    Mutation(
        "no-bound",
        "reads a stream until it is empty, however many bytes come",
        "src/echo/stream.rs",
        "        for _ in 0..READS_PER_SLICE {\n",
        "        loop {\n",
        "echo::stream::tests::endless_data_ends_the_slice_after_a_bounded_number_of_reads",
    ),
    Mutation(
        "sleep-with-work-left",
        "does not look at the ready list before it sleeps",
        "src/reactor/turn.rs",
        "        self.core.slots.ready_len() > 0 || self.inbox.is_notified()",
        "        self.inbox.is_notified()",
        "reactor::tests::fairness::"
        "a_source_whose_slice_is_used_up_runs_again_after_the_others_without_a_sleep",
    ),
    Mutation(
        "never-requeue",
        "leaves a source whose slice is used up off the ready list",
        "src/reactor/turn.rs",
        "            slots.mark(key, Readiness::NONE);\n",
        "",
        "reactor::tests::fairness::"
        "a_source_whose_slice_is_used_up_runs_again_after_the_others_without_a_sleep",
    ),
    Mutation(
        "replace-readiness",
        "lets an event replace the remembered readiness instead of adding to it",
        "src/reactor/slots.rs",
        "        slot.readiness.merge(readiness);\n",
        "        slot.readiness = readiness;\n",
        "reactor::tests::fairness::a_wake_up_takes_nothing_from_the_remembered_readiness",
    ),
    Mutation(
        "short-read-hides-the-end",
        "takes a short read for an empty socket although the peer has sent FIN",
        "src/readiness.rs",
        "!self.contains(Readiness::READ_CLOSED)",
        "true",
        "echo::stream::tests::data_and_fin_in_one_edge_are_both_seen",
    ),
    Mutation(
        "timer-outlives-its-source",
        "leaves the timer of a closed source in the heap",
        "src/reactor/slots.rs",
        "        self.timers.cancel(key, &mut self.slots);\n        self.slots.remove",
        "        self.slots.remove",
        "reactor::slots::tests::"
        "a_timer_of_a_removed_source_does_not_mark_the_next_tenant_of_its_slot",
    ),
    Mutation(
        "drop-the-partial-write",
        "drops the part of a reply that the socket did not take",
        "src/echo/stream.rs",
        "            self.keep(unsent, work.now)?;\n",
        "            drop(unsent);\n",
        "echo::stream::tests::a_fin_behind_an_unsent_echo_is_seen_after_the_flush",
    ),
]
