//! The kernel's figures of a TCP connection.

/// The kernel's figures of a TCP connection (`TCP_INFO`), over its whole life so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Segments retransmitted, including SYNs.
    pub retransmits: u32,
    /// Bytes of payload retransmitted.
    pub bytes_retransmitted: u64,
    /// The smoothed round-trip time; `None` if the kernel has measured none.
    pub rtt_ns: Option<u64>,
    /// The least recent round-trip time; `None` if the kernel has measured none.
    pub min_rtt_ns: Option<u64>,
    /// The congestion window, in segments.
    pub cwnd: u32,
    /// Bytes of payload per segment, at most.
    pub mss: u32,
    /// The recent delivery rate, in bytes per second.
    pub delivery_rate: u64,
    /// Segments that the kernel considers lost now.
    pub lost: u32,
    /// How often segments, or their acknowledgements, came out of order.
    pub reordering: u32,
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use crate::socket::Stream;

    #[test]
    fn a_connection_without_losses_has_plausible_figures() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        (&client).write_all(b"ping").unwrap();
        server.read_exact(&mut [0; 4]).unwrap();
        server.write_all(b"pong").unwrap();
        (&client).read_exact(&mut [0; 4]).unwrap();
        let stream = Stream::Tcp(mio::net::TcpStream::from_std(client));
        let Some(info) = stream.tcp_info() else { return };
        assert_eq!((info.retransmits, info.bytes_retransmitted, info.lost), (0, 0, 0), "{info:?}");
        assert!(info.rtt_ns >= info.min_rtt_ns && info.min_rtt_ns.is_some(), "{info:?}");
        assert!(info.rtt_ns.is_some_and(|rtt_ns| rtt_ns < 1_000_000_000), "{info:?}");
        // The loopback device takes 65,536 bytes at once; a segment takes less.
        assert!((500..=65_536).contains(&info.mss), "{info:?}");
        assert!((1..=1_000).contains(&info.cwnd), "{info:?}");
        assert!(info.delivery_rate > 0, "{info:?}");
    }

    #[test]
    fn a_unix_stream_has_no_such_figures() {
        let (stream, _peer) = mio::net::UnixStream::pair().unwrap();
        assert_eq!(Stream::Unix(stream).tcp_info(), None);
    }
}
