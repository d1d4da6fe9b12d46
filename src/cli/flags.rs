//! Groups of flags that several commands share.

use clap::Args;
use resound::socket::SocketOptions;

use super::values::buf_size;

/// The end of a command's help: how values are written.
pub(super) const VALUES_HELP: &str = "\
N is a count such as 250 or 10k (thousands), SIZE a number of bytes such as 1200 or 64KiB, and T a \
time such as 200us, 1.5s or 2m; a bare number is seconds.";

/// Options of every socket.
#[derive(Debug, Args)]
pub(super) struct SocketFlags {
    /// Receive buffer of each socket (SO_RCVBUF)
    #[arg(long, value_name = "SIZE", value_parser = buf_size)]
    pub(super) rcvbuf: Option<usize>,

    /// Send buffer of each socket (SO_SNDBUF)
    #[arg(long, value_name = "SIZE", value_parser = buf_size)]
    pub(super) sndbuf: Option<usize>,

    /// Let TCP coalesce small messages (Nagle's algorithm: TCP_NODELAY off)
    #[arg(long)]
    pub(super) nagle: bool,

    /// TCP congestion control algorithm
    #[arg(long, value_name = "NAME")]
    pub(super) congestion: Option<String>,
}

impl SocketFlags {
    /// Returns the socket options. Options without a flag here have their defaults.
    pub(super) fn options(&self) -> SocketOptions {
        SocketOptions {
            receive_buf_bytes: self.rcvbuf,
            send_buf_bytes: self.sndbuf,
            nodelay: !self.nagle,
            congestion: self.congestion.clone(),
            ..SocketOptions::default()
        }
    }

    /// Returns the flags that only TCP uses, and whether each was given.
    pub(super) fn of_tcp(&self) -> [(&'static str, bool); 2] {
        [("--nagle", self.nagle), ("--congestion", self.congestion.is_some())]
    }
}
