//! Code points of differentiated services.

use std::fmt;
use std::str::FromStr;

/// A differentiated services code point (RFC 2474): the upper six bits of IPv4's type of service
/// and of IPv6's traffic class.
///
/// ```
/// use resound::socket::Dscp;
///
/// let dscp: Dscp = "af41".parse().expect("a name of RFC 2597");
/// assert_eq!(dscp, "34".parse().expect("its number"));
/// assert_eq!(dscp.to_string(), "34 (af41)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dscp(u8);

impl Dscp {
    const MAX: u8 = 63;

    /// Bits of the same byte behind the code point, for congestion notification (RFC 3168).
    const ECN_BITS: u32 = 2;

    /// Its number, at most 63.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The code point in a byte of type of service, or of traffic class.
    pub(super) fn of_traffic_class(class: u32) -> Dscp {
        Dscp(u8::try_from((class & 0xff) >> Dscp::ECN_BITS).unwrap_or_default())
    }

    /// The byte of type of service, or of traffic class.
    pub(super) fn traffic_class(self) -> u32 {
        u32::from(self.0) << Dscp::ECN_BITS
    }

    /// Class selectors (RFC 2474), assured forwarding (RFC 2597), expedited forwarding (RFC 3246),
    /// lower effort (RFC 8622), voice admit (RFC 5865).
    fn name(self) -> Option<String> {
        match (self.0, self.0 >> 3, self.0 & 7) {
            (1, ..) => Some("le".to_owned()),
            (44, ..) => Some("va".to_owned()),
            (46, ..) => Some("ef".to_owned()),
            (_, class, 0) => Some(format!("cs{class}")),
            (_, class @ 1..=4, drop @ (2 | 4 | 6)) => Some(format!("af{class}{}", drop / 2)),
            _ => None,
        }
    }
}

impl FromStr for Dscp {
    type Err = String;

    fn from_str(text: &str) -> Result<Dscp, String> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_number && *number <= Dscp::MAX);
        let is_named =
            |dscp: &Dscp| dscp.name().is_some_and(|name| name.eq_ignore_ascii_case(text));
        number.map(Dscp).or_else(|| (0..=Dscp::MAX).map(Dscp).find(is_named)).ok_or_else(|| {
            "expected a name such as cs1, af41, ef, le or va, or a number from 0 to 63".to_owned()
        })
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(formatter, "{} ({name})", self.0),
            None => self.0.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_code_points_and_nothing_else_is() {
        for (text, number) in [
            ("cs0", 0),
            ("le", 1),
            ("cs1", 8),
            ("af11", 10),
            ("af12", 12),
            ("af43", 38),
            ("va", 44),
            ("ef", 46),
            ("EF", 46),
            ("cs7", 56),
            ("0", 0),
            ("63", 63),
        ] {
            assert_eq!(text.parse(), Ok(Dscp(number)), "{text}");
        }
        for text in ["", "64", "-1", "+1", "256", "cs8", "af10", "af14", "af51", "ef ", "0x2e"] {
            let error = text.parse::<Dscp>().unwrap_err();
            assert!(error.starts_with("expected a name such as"), "{text:?}");
        }
    }

    #[test]
    fn a_code_point_is_in_the_upper_six_bits_of_its_byte() {
        let dscp = Dscp(46);
        assert_eq!(dscp.traffic_class(), 0xb8);
        assert_eq!(Dscp::of_traffic_class(0xb8 | 0b11), dscp);
    }
}
