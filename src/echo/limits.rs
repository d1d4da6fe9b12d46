//! The limits that several servers may have together.

use super::accept::Gate;
use super::guard::{Quota, RateLimit};
use super::options::{Answer, Options};
use super::permits::Places;
use super::stream::OwedBytes;

/// How many connections there may be, in all and from one address, how many datagrams of one source
/// are answered and with how many bytes, and how much memory streams may be owed.
///
/// Clones are the same limits: servers that [share](super::Server::share_limits) them count
/// together, wherever their loops run.
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
    pub(super) places: Places,
    pub(super) quota: Option<Quota>,
    pub(super) rate: Option<RateLimit>,
    pub(super) excess: Option<RateLimit>,
    pub(super) owed_bytes: OwedBytes,
    /// Not a limit, but shared by the same: see there.
    pub(super) gate: Gate,
}

impl Limits {
    /// Those of these options, used up by nobody yet.
    pub fn new(options: &Options) -> Limits {
        Limits {
            places: Places::new(options.connections_max),
            quota: options.connections_per_address_max.map(Quota::new),
            rate: options.datagrams_per_second_max.map(RateLimit::new),
            excess: match &options.answer {
                Answer::Text(_) => options.excess_bytes_per_second_max.map(RateLimit::new),
                Answer::Echo | Answer::Nothing => None,
            },
            owed_bytes: OwedBytes::default(),
            gate: Gate::default(),
        }
    }
}
