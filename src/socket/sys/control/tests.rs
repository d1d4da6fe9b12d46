use super::super::header;
use super::*;

mod properties;

fn message(control: &mut Control, length: usize) -> msghdr {
    let mut message =
        header(ptr::null_mut(), ptr::null_mut(), ptr::from_mut(control).cast()).msg_hdr;
    message.msg_controllen = length as _;
    message
}

fn read_back(source: Option<LocalAddr>, segment_bytes: Option<u16>) -> ControlInfo {
    let mut control = Control([0xff; 128]);
    let length = write_control(&mut control, source, segment_bytes);
    // SAFETY: the control buffer outlives the call and has `length` written bytes.
    unsafe { ControlInfo::read(&message(&mut control, length)) }
}

/// case U10: the source that is written is the destination that was read.
#[test]
fn a_source_survives_its_control_message() {
    let ipv4 = Some((IpAddr::from([127, 0, 0, 2]), 0));
    let ipv6 = Some(("2001:db8::1".parse().unwrap(), 0));
    for segment_bytes in [None, Some(1200)] {
        assert_eq!(read_back(ipv4, segment_bytes).destination, ipv4);
        assert_eq!(read_back(ipv6, segment_bytes).destination, ipv6);
    }
    assert_eq!(read_back(None, Some(1200)).destination, None);
}

/// case U10: a socket that takes both families has info of both for an IPv4 datagram.
#[test]
fn of_an_ipv4_datagram_the_note_of_its_own_family_tells_in_either_order() {
    let asked: IpAddr = "::ffff:127.0.0.255".parse().unwrap();
    let source = IpAddr::from([127, 0, 0, 1]);
    for places in [[asked, source], [source, asked]] {
        let mut control = Control::EMPTY;
        let mut length = 0;
        for place in places {
            let mut note = Control::EMPTY;
            let note_length = write_control(&mut note, Some((place, 0)), None);
            control.0[length..length + note_length].copy_from_slice(&note.0[..note_length]);
            length += note_length;
        }
        // SAFETY: the control buffer outlives the call and has `length` written bytes.
        let info = unsafe { ControlInfo::read(&message(&mut control, length)) };
        assert_eq!(info.destination, Some((source, 0)));
    }
}

/// case U10: link-local IPv6 keeps its scope, other addresses leave the way back open.
#[test]
fn only_a_link_local_source_keeps_its_interface() {
    let local = ("fe80::1".parse().unwrap(), 7);
    assert_eq!(read_back(Some(local), None).destination, Some(local));
    let global: IpAddr = "2001:db8::1".parse().unwrap();
    assert_eq!(read_back(Some((global, 7)), None).destination, Some((global, 0)));
    assert_eq!(read_back(Some(("ff02::1".parse().unwrap(), 7)), None).destination, None);
}

/// case U13
#[test]
fn the_length_of_a_trains_datagrams_is_read() {
    let mut control = Control::EMPTY;
    let length = write_payload(&mut control, 0, (libc::SOL_UDP, libc::UDP_GRO), 1200 as c_int);
    // SAFETY: the control buffer outlives the call and has `length` written bytes.
    let info = unsafe { ControlInfo::read(&message(&mut control, length)) };
    assert_eq!(info, ControlInfo { segment_bytes: Some(1200), ..ControlInfo::default() });
}

#[test]
fn a_cut_control_message_tells_nothing() {
    let mut control = Control::EMPTY;
    let source = Some((IpAddr::from([127, 0, 0, 2]), 0));
    let length = write_control(&mut control, source, None);
    for cut in 0..length {
        // SAFETY: the control buffer outlives the call and is longer than `cut`.
        let info = unsafe { ControlInfo::read(&message(&mut control, cut)) };
        assert!(cut >= 28 || info == ControlInfo::default(), "{cut}: {info:?}");
    }
}

/// Neither read beyond the buffer nor gone round for ever, where sums wrap.
#[test]
fn a_control_message_that_states_all_of_memory_tells_nothing() {
    for less in 0..64 {
        let mut control = Control([0xff; 128]);
        let length = write_control(&mut control, Some((IpAddr::from([127, 0, 0, 2]), 0)), None);
        control.0[..size_of::<usize>()].copy_from_slice(&(usize::MAX - less).to_ne_bytes());
        // SAFETY: the control buffer outlives the call and has `length` written bytes.
        let info = unsafe { ControlInfo::read(&message(&mut control, length)) };
        assert_eq!(info, ControlInfo::default(), "{less}");
    }
}
