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

/// case U10: a control message that names a source is read as a destination.
#[test]
fn a_written_source_address_is_read_back() {
    let ipv4 = Some((IpAddr::from([127, 0, 0, 2]), 0));
    let ipv6 = Some(("2001:db8::1".parse().unwrap(), 0));
    for segment_bytes in [None, Some(1200)] {
        assert_eq!(read_back(ipv4, segment_bytes).destination, ipv4);
        assert_eq!(read_back(ipv6, segment_bytes).destination, ipv6);
    }
    assert_eq!(read_back(None, Some(1200)).destination, None);
}

/// case U10: a dual-stack socket gets the control messages of both IP versions.
#[test]
fn the_ipv4_message_of_an_ipv4_datagram_names_the_source_in_either_order() {
    let asked: IpAddr = "::ffff:127.0.0.255".parse().unwrap();
    let source = IpAddr::from([127, 0, 0, 1]);
    for ips in [[asked, source], [source, asked]] {
        let mut control = Control::EMPTY;
        let mut length = 0;
        for ip in ips {
            let mut next = Control::EMPTY;
            let next_length = write_control(&mut next, Some((ip, 0)), None);
            control.0[length..length + next_length].copy_from_slice(&next.0[..next_length]);
            length += next_length;
        }
        // SAFETY: the control buffer outlives the call and has `length` written bytes.
        let info = unsafe { ControlInfo::read(&message(&mut control, length)) };
        assert_eq!(info.destination, Some((source, 0)));
    }
}

/// case U10: only a link-local IPv6 address needs its interface; routing picks that of others.
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
fn the_segment_length_of_a_train_is_read() {
    let mut control = Control::EMPTY;
    let length = write_payload(&mut control, 0, (libc::SOL_UDP, libc::UDP_GRO), 1200 as c_int);
    // SAFETY: the control buffer outlives the call and has `length` written bytes.
    let info = unsafe { ControlInfo::read(&message(&mut control, length)) };
    assert_eq!(info, ControlInfo { segment_bytes: Some(1200), ..ControlInfo::default() });
}

#[test]
fn a_truncated_control_message_is_ignored() {
    let mut control = Control::EMPTY;
    let source = Some((IpAddr::from([127, 0, 0, 2]), 0));
    let length = write_control(&mut control, source, None);
    for cut in 0..length {
        // SAFETY: the control buffer outlives the call and is longer than `cut`.
        let info = unsafe { ControlInfo::read(&message(&mut control, cut)) };
        assert!(cut >= 28 || info == ControlInfo::default(), "{cut}: {info:?}");
    }
}

/// With such a length, sums overflow. The reader must neither leave the buffer nor loop.
#[test]
fn a_control_message_with_a_length_near_the_maximum_is_ignored() {
    for less in 0..64 {
        let mut control = Control([0xff; 128]);
        let length = write_control(&mut control, Some((IpAddr::from([127, 0, 0, 2]), 0)), None);
        control.0[..size_of::<usize>()].copy_from_slice(&(usize::MAX - less).to_ne_bytes());
        // SAFETY: the control buffer outlives the call and has `length` written bytes.
        let info = unsafe { ControlInfo::read(&message(&mut control, length)) };
        assert_eq!(info, ControlInfo::default(), "{less}");
    }
}
