//! The limits that several servers can share.

use super::accept::SpareLock;
use super::guard::{Quota, RateLimit};
use super::options::{Options, Reply};
use super::permits::Permits;
use super::stream::UnsentBytes;

/// The limits of one server or of several: connections in all and per address, replies and bytes
/// per UDP source, and the memory of unsent bytes of streams.
///
/// Clones are the same limits. Servers that [share](super::Server::share_limits) them count
/// together, on whichever threads their loops run.
///
/// ```
/// use resound::echo::{Limits, Options, Server};
///
/// let options = Options { connections_max: 3, ..Options::default() };
/// let limits = Limits::new(&options);
/// let mut servers = [Server::new(options.clone()), Server::new(options)];
/// servers.iter_mut().for_each(|server| server.share_limits(&limits));
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    pub(super) permits: Permits,
    pub(super) quota: Option<Quota>,
    pub(super) rate: Option<RateLimit>,
    pub(super) excess: Option<RateLimit>,
    pub(super) unsent_bytes: UnsentBytes,
    /// Serialises use of the spare descriptor among loops.
    pub(super) spare_lock: SpareLock,
}

impl Limits {
    /// Creates the limits of these options, with nothing used.
    pub fn new(options: &Options) -> Limits {
        Limits {
            permits: Permits::new(options.connections_max),
            quota: options.connections_per_address_max.map(Quota::new),
            rate: options.datagrams_per_second_max.map(RateLimit::new),
            excess: match &options.reply {
                Reply::Text(_) => options.excess_bytes_per_second_max.map(RateLimit::new),
                Reply::Echo | Reply::Nothing => None,
            },
            unsent_bytes: UnsentBytes::default(),
            spare_lock: SpareLock::default(),
        }
    }
}
