//! Property tests: endpoints from valid, nearly valid and arbitrary text.

use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// The longest error message. It shows at most a part of the input.
const MESSAGE_BYTES_MAX: usize = 500;

/// Pieces of endpoints, and characters with a meaning in an endpoint or on a terminal.
const PIECES: &[&str] = &[
    "tcp",
    "udp",
    "unix",
    "unixgram",
    "http",
    "TCP",
    ":",
    "://",
    "//",
    "/",
    "@",
    "[",
    "]",
    "%",
    "::1",
    "127.0.0.1",
    "fe80::1",
    "eth0",
    "localhost",
    "a",
    "b.c",
    "-",
    "_",
    "0",
    "7",
    "65535",
    "65536",
    "+7",
    "..",
    "~",
    " ",
    "?",
    "#",
    "é",
    "\u{202e}",
    "\u{2028}",
    "\t",
    "\n",
    "\u{1b}[2J",
    "\0",
    "\u{7f}",
    "\u{9b}",
];

fn port() -> impl Strategy<Value = String> {
    prop_oneof![3 => any::<u16>().prop_map(|port| format!(":{port}")), 1 => Just(String::new())]
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(|ip| ip.to_string()),
        any::<Ipv6Addr>().prop_map(|ip| format!("[{ip}]")),
        (any::<Ipv6Addr>(), "[a-z0-9.%:-]{1,12}").prop_map(|(ip, zone)| format!("[{ip}%{zone}]")),
        "[a-z0-9._-]{0,30}",
        "[^\\x00-\\x20:/@\\[\\]?#%\\s\\p{Cc}]{0,40}",
        "[a-z]{250,255}",
    ]
}

fn name() -> impl Strategy<Value = String> {
    let bytes = "[^\\x00\\p{Cc}]{1,26}";
    let slashes =
        prop_oneof![Just("/"), Just("//"), Just("///"), Just("////"), Just(""), Just("@")];
    prop_oneof![
        (slashes.clone(), bytes).prop_map(|(slashes, rest)| format!("{slashes}{rest}")),
        (slashes, vec(select(vec!["/", ":", "://", "@", ".", "a", "//"]), 1..8))
            .prop_map(|(slashes, parts)| format!("{slashes}{}", parts.concat())),
        "[@/][a-z]{104,107}",
    ]
}

/// Generates endpoints of the documented forms. A few Unix ones are invalid, such as `unix:@`.
fn endpoint() -> impl Strategy<Value = String> {
    let scheme = select(vec!["tcp://", "udp://", ""]);
    let unix = select(vec!["unix:", "unixgram:", "unix://", "unixgram://"]);
    prop_oneof![
        (scheme, host(), port()).prop_map(|(scheme, host, port)| format!("{scheme}{host}{port}")),
        (unix, name()).prop_map(|(scheme, name)| format!("{scheme}{name}")),
    ]
}

/// Changes a text at one position: removes, repeats or replaces a character, inserts a piece, or
/// cuts off the rest.
fn mutated((text, at, piece, kind): (String, Index, &str, u8)) -> String {
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    let place = at.index(parts.len() + 1);
    match kind {
        0 => parts.truncate(place),
        1 => parts.insert(place, piece.to_owned()),
        2 if place < parts.len() => parts[place] = piece.to_owned(),
        3 if place < parts.len() => drop(parts.remove(place)),
        4 if place < parts.len() => parts[place] = parts[place].repeat(300),
        _ => parts.splice(0..0, [piece.to_owned()]).for_each(drop),
    }
    parts.concat()
}

fn any_text() -> impl Strategy<Value = String> {
    let mutation = (endpoint(), any::<Index>(), select(PIECES), 0..6_u8);
    prop_oneof![
        3 => endpoint(),
        4 => mutation.prop_map(mutated),
        3 => vec(select(PIECES), 0..12).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
        1 => vec(any::<u8>(), 0..300)
            .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        1 => ".{0,200}",
    ]
}

fn check(text: &str) -> Result<(), TestCaseError> {
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            let printed = endpoint.to_string();
            prop_assert!(!printed.contains(char::is_control), "{:?}", printed);
            let parsed = printed.parse::<Endpoint>();
            prop_assert_eq!(parsed.as_ref(), Ok(&endpoint), "{:?}", printed);
            prop_assert_eq!(parsed.map(|endpoint| endpoint.to_string()), Ok(printed));
        }
        Err(error) => {
            let message = error.to_string();
            prop_assert!(!message.contains(char::is_control), "{:?}", message);
            prop_assert!(message.len() <= MESSAGE_BYTES_MAX, "{} bytes", message.len());
            let (wrong, expected) = message.rsplit_once("; expected ").unwrap();
            prop_assert!(!wrong.is_empty());
            let (what, example) = expected.split_once(", as in ").unwrap();
            prop_assert!(!what.is_empty());
            let example = example.split([' ', ',']).next().unwrap();
            prop_assert!(example.parse::<Endpoint>().is_ok(), "{:?} does not parse", example);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// case P6: a text that parses is printed as a text that parses to the same endpoint. Any other
    /// text is refused in one short line that says what was expected.
    #[test]
    fn any_text_parses_or_is_refused_in_one_line(text in any_text()) {
        check(&text)?;
    }

    #[test]
    fn every_host_and_port_of_the_documented_form_parses(
        is_tcp: bool,
        host in host(),
        port: u16,
    ) {
        let text = format!("{}://{host}:{port}", if is_tcp { "tcp" } else { "udp" });
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let address = HostPort { host: bare, port };
        let expected = if is_tcp { Endpoint::Tcp(address) } else { Endpoint::Udp(address) };
        prop_assert_eq!(text.parse::<Endpoint>(), Ok(expected));
    }

    /// case X9: every length up to the longest, and every character except control characters.
    #[test]
    fn every_absolute_path_parses(path in "(/[^\\x00\\p{Cc}/]{1,6}){1,6}") {
        let fits = path.len() <= 107;
        for text in [format!("unix:{path}"), format!("unix://{path}")] {
            let parsed = text.parse::<Endpoint>();
            let expected = Endpoint::Unix(UnixName::Path(PathBuf::from(&path)));
            prop_assert_eq!(parsed.ok(), fits.then_some(expected), "{:?}", text);
        }
    }
}
