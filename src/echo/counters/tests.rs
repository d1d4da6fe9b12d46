use super::*;

#[test]
fn every_cause_stands_at_its_own_place() {
    for (place, &(cause, name)) in Cause::ALL.iter().enumerate() {
        assert_eq!(cause as usize, place, "{name}");
        assert_eq!(cause.name(), name);
    }
}

#[test]
fn every_cause_has_an_effect_on_streams_or_on_datagrams_and_one_on_both() {
    let on = |cause: Cause| {
        [Transport::Tcp, Transport::Udp].map(|transport| cause.effect(transport).is_some())
    };
    let on_both = Cause::ALL.iter().filter(|(cause, _)| on(*cause) == [true; 2]);
    assert_eq!(on_both.map(|(cause, _)| *cause).collect::<Vec<_>>(), [Cause::Denied]);
    assert!(Cause::ALL.iter().all(|(cause, _)| on(*cause) != [false; 2]));
    let dropped = |cause: Cause| cause.effect(Transport::Udp) == Some(Effect::Dropped);
    for (cause, name) in Cause::ALL {
        let is_of_datagrams = cause.effect(Transport::Udp).is_some() && *cause != Cause::Denied;
        // What is dropped is a loss to be told of, and so is a receive that failed.
        let is_told = dropped(*cause) || *cause == Cause::ReceiveFailed;
        assert!(!is_of_datagrams || cause.is_loss() == is_told, "{name}");
    }
}

#[test]
fn a_sum_has_what_all_have_counted_on_each_transport() {
    let mut first = Counters { connections_open: 2, ..Counters::default() };
    first[Transport::Tcp].received(5);
    first[Transport::Tcp].add(Cause::Reset, 1);
    let mut second = Counters { connections_open: 3, ..Counters::default() };
    second[Transport::Tcp].sent(7);
    second[Transport::Udp].received(11);
    second[Transport::Udp].add(Cause::Reset, 2);
    let sum: Counters = [first, second].iter().sum();
    assert_eq!(sum.connections_open, 5);
    let tcp = Traffic {
        messages_in: 1,
        bytes_in: 5,
        messages_out: 1,
        bytes_out: 7,
        ..Traffic::default()
    };
    assert_eq!(sum[Transport::Tcp].traffic, tcp);
    assert_eq!(sum[Transport::Udp].traffic, second[Transport::Udp].traffic);
    assert_eq!((sum[Transport::Tcp].count(Cause::Reset), sum.total(Cause::Reset)), (1, 3));
    assert_eq!([].iter().sum::<Counters>(), Counters::default());
}

#[test]
fn a_line_names_what_happened_and_nothing_else() {
    let mut counters = Counters::default();
    assert_eq!(counters.to_string(), "connections_open=0");
    counters[Transport::Udp].received(5);
    counters[Transport::Udp].add(Cause::Truncated, 2);
    counters[Transport::Unixgram].add(Cause::Truncated, 1);
    assert_eq!(
        counters.to_string(),
        "connections_open=0 udp_messages_in=1 udp_bytes_in=5 udp_messages_out=0 \
         udp_bytes_out=0 truncated=3"
    );
}
