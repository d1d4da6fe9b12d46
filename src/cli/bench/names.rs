//! The values of flags that are one of several words.

use std::fmt;

use clap::ValueEnum;
use resound::endpoint::Transport;

/// A [`Transport`] as a flag value.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum TransportName {
    Tcp,
    Udp,
    Unix,
    Unixgram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ModeName {
    Echo,
    Connect,
}

impl TransportName {
    pub(super) fn transport(self) -> Transport {
        match self {
            TransportName::Tcp => Transport::Tcp,
            TransportName::Udp => Transport::Udp,
            TransportName::Unix => Transport::Unix,
            TransportName::Unixgram => Transport::Unixgram,
        }
    }
}

/// Returns the word that clap parses as this value.
pub(super) fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |word| word.get_name().to_owned())
}

impl fmt::Display for TransportName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.transport().name())
    }
}
