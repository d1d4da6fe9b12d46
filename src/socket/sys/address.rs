//! The bytes of socket addresses as the kernel writes them.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as UnixAddr;

use libc::{c_int, sa_family_t};
use socket2::SockAddr;

/// Returns the bytes of an address, which begin with its family.
#[inline]
pub(in crate::socket) fn address_bytes(addr: &SockAddr) -> &[u8] {
    // SAFETY: the storage is initialised, and at least as long as the address in it.
    unsafe { std::slice::from_raw_parts(addr.as_ptr().cast(), addr.len() as usize) }
}

/// Returns the name in a Unix socket's address: a path, or a zero byte and an abstract name. It is
/// empty for an unnamed socket and for another address family.
#[inline]
pub(crate) fn unix_name(addr: &SockAddr) -> &[u8] {
    match address_bytes(addr).split_first_chunk() {
        Some((family, name))
            if c_int::from(sa_family_t::from_ne_bytes(*family)) == libc::AF_UNIX =>
        {
            without_terminator(name)
        }
        _ => &[],
    }
}

/// Returns an abstract name without its leading zero byte.
pub(in crate::socket) fn abstract_name(addr: &UnixAddr) -> Option<&[u8]> {
    addr.as_abstract_name()
}

/// Returns the name in `bytes`. A path ends at its first zero byte. An abstract name begins with a
/// zero byte and may contain more.
fn without_terminator(bytes: &[u8]) -> &[u8] {
    match bytes.first() {
        Some(0) | None => bytes,
        Some(_) => bytes.split(|byte| *byte == 0).next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn unix_name_returns_names_of_every_kind_and_length() {
        let longest = vec![b'x'; 107];
        for name in [&b"/a"[..], b"relative", &longest, b"\0name"] {
            let addr = SockAddr::unix(OsStr::from_bytes(name)).unwrap();
            assert_eq!(unix_name(&addr), name);
        }
        assert_eq!(unix_name(&SockAddr::unix("").unwrap()), b"");
        let ip = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        assert_eq!(unix_name(&SockAddr::from(ip)), b"");
        assert_eq!(without_terminator(b"/path\0"), b"/path");
        assert_eq!(without_terminator(b"\0a\0b"), b"\0a\0b");
    }
}
