use super::*;

fn read_back(source: (IpAddr, u32)) -> Notes {
    let mut control = Control([0xff; CONTROL_BYTES]);
    let length = write_source(&mut control, source);
    let mut message = header(ptr::null_mut(), ptr::null_mut(), &mut control).msg_hdr;
    message.msg_controllen = length;
    // SAFETY: the control buffer outlives the call and has `length` written bytes.
    unsafe { Notes::read(&message) }
}

/// case U10: the source that is written is the destination that was read.
#[test]
fn a_source_survives_its_control_message() {
    let ipv4 = (IpAddr::from([127, 0, 0, 2]), 0);
    assert_eq!(read_back(ipv4).destination, Some(ipv4));
    let ipv6 = ("2001:db8::1".parse().unwrap(), 0);
    assert_eq!(read_back(ipv6).destination, Some(ipv6));
}

/// case U10: link-local IPv6 keeps its scope, other addresses leave the way back open.
#[test]
fn only_a_link_local_source_keeps_its_interface() {
    let local = ("fe80::1".parse().unwrap(), 7);
    assert_eq!(read_back(local).destination, Some(local));
    let global: IpAddr = "2001:db8::1".parse().unwrap();
    assert_eq!(read_back((global, 7)).destination, Some((global, 0)));
    assert_eq!(read_back(("ff02::1".parse().unwrap(), 7)).destination, None);
}

#[test]
fn a_cut_control_message_tells_nothing() {
    let mut control = Control([0; CONTROL_BYTES]);
    let length = write_source(&mut control, (IpAddr::from([127, 0, 0, 2]), 0));
    for cut in 0..length {
        let mut message = header(ptr::null_mut(), ptr::null_mut(), &mut control).msg_hdr;
        message.msg_controllen = cut;
        // SAFETY: the control buffer outlives the call and is longer than `cut`.
        let notes = unsafe { Notes::read(&message) };
        assert!(cut >= 28 || notes == Notes::default(), "{cut}: {notes:?}");
    }
}
