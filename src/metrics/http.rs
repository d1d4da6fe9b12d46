//! The part of HTTP/1 that two pages need: one request per connection, no bodies, GET and HEAD.

use httparse::{EMPTY_HEADER, Error, Request};

use super::accept;
use super::families::Format;

/// The longest head of a request. Prometheus sends 0.5 KiB, and browsers with cookies 2 KiB.
pub(super) const HEAD_BYTES_MAX: usize = 4 << 10;

/// The most header lines of a request: three times as many as browsers send.
const HEADERS_MAX: usize = 64;

/// The paths of the pages.
const METRICS_PATH: &str = "/metrics";
const HEALTH_PATH: &str = "/healthz";

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Metrics(Format),
    Health,
}

/// A valid request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageRequest {
    pub(super) page: Page,
    /// The client wants only the head of the response.
    pub(super) head_only: bool,
}

/// What the bytes received so far are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// The beginning of a request.
    Partial,
    Complete(PageRequest),
    /// An invalid request, with the response that says why.
    Refused(Vec<u8>),
}

/// The status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TargetTooLong,
    HeadTooLong,
    Unavailable,
    OtherVersion,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::TargetTooLong => "414 URI Too Long",
            Status::HeadTooLong => "431 Request Header Fields Too Large",
            Status::Unavailable => "503 Service Unavailable",
            Status::OtherVersion => "505 HTTP Version Not Supported",
        }
    }
}

/// Parses the first bytes of a head: at most [`HEAD_BYTES_MAX`].
pub(super) fn parse(head: &[u8]) -> Parsed {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(status) if status.is_complete() => page_request(&request),
        Ok(_) if head.len() < HEAD_BYTES_MAX => Parsed::Partial,
        Ok(_) if head.contains(&b'\n') => refused(Status::HeadTooLong, "a head of over 4 KiB"),
        Ok(_) => refused(Status::TargetTooLong, "a request line of over 4 KiB"),
        Err(Error::TooManyHeaders) => refused(Status::HeadTooLong, "more than 64 header lines"),
        Err(Error::Version) => refused(Status::OtherVersion, "expected HTTP/1.0 or HTTP/1.1"),
        Err(_) => refused(Status::BadRequest, "expected a request such as GET /metrics HTTP/1.1"),
    }
}

fn refused(status: Status, reason: &str) -> Parsed {
    Parsed::Refused(text_response(status, reason, false))
}

/// Returns what a complete request asks for.
fn page_request(request: &Request<'_, '_>) -> Parsed {
    let head_only = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return refused(Status::MethodNotAllowed, "expected GET or HEAD"),
    };
    let path = path_of(request.path.unwrap_or_default());
    let page = match path {
        METRICS_PATH => Page::Metrics(preferred_format(request)),
        HEALTH_PATH => Page::Health,
        _ => {
            let expected = "expected /metrics or /healthz";
            return Parsed::Refused(text_response(Status::NotFound, expected, head_only));
        }
    };
    Parsed::Complete(PageRequest { page, head_only })
}

/// Returns the path of a target. A target may be a whole URL, as it is sent to proxies, and servers
/// must accept that (RFC 9112, 3.2.2).
fn path_of(target: &str) -> &str {
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |path_at| &rest[path_at..]),
        None => target,
    };
    target.split_once('?').map_or(target, |(path, _)| path)
}

/// Returns the format that the client prefers.
fn preferred_format(request: &Request<'_, '_>) -> Format {
    let accepts =
        request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("accept"));
    accept::preferred(accepts.map(|header| header.value))
}

/// Returns a response whose body is one line of text.
pub(super) fn text_response(status: Status, reason: &str, head_only: bool) -> Vec<u8> {
    response(status, "text/plain; charset=utf-8", &format!("{reason}\n"), head_only)
}

/// Returns a whole response, after which the connection closes.
pub(super) fn response(status: Status, content_type: &str, body: &str, head_only: bool) -> Vec<u8> {
    let allow = if status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    let mut response = format!(
        "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}\
         Connection: close\r\n\r\n",
        status.line(),
        body.len()
    );
    if !head_only {
        response.push_str(body);
    }
    response.into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(head: &str) -> Parsed {
        parse(head.as_bytes())
    }

    #[track_caller]
    fn assert_refused(head: &str, status: &str) {
        let Parsed::Refused(response) = parsed(head) else { panic!("{head:?} was taken") };
        let response = String::from_utf8(response).unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?}: {response}");
        assert!(response.contains("\r\nConnection: close\r\n"), "{response}");
        assert_eq!(response.contains("\r\nAllow: GET, HEAD\r\n"), status == "405", "{response}");
        assert!(!response.contains("Content-Length: 0\r\n"), "with a reason: {response}");
    }

    #[test]
    fn get_and_head_request_both_pages_in_both_versions_of_http_1() {
        for version in ["HTTP/1.0", "HTTP/1.1"] {
            for (method, head_only) in [("GET", false), ("HEAD", true)] {
                for (target, page) in [
                    ("/metrics", Page::Metrics(Format::Plain)),
                    ("/metrics?name=a", Page::Metrics(Format::Plain)),
                    ("/healthz", Page::Health),
                    ("/healthz?", Page::Health),
                    ("http://a:9100/metrics?name=a", Page::Metrics(Format::Plain)),
                ] {
                    let head = format!("{method} {target} {version}\r\nHost: a\r\n\r\n");
                    assert_eq!(
                        parsed(&head),
                        Parsed::Complete(PageRequest { page, head_only }),
                        "{head:?}"
                    );
                    for cut in 0..head.len() {
                        assert_eq!(parsed(&head[..cut]), Parsed::Partial, "{:?}", &head[..cut]);
                    }
                }
            }
        }
    }

    #[test]
    fn the_format_is_the_one_that_the_client_prefers() {
        for (accept, format) in [
            ("accept: application/openmetrics-text;version=1.0.0;q=0.5", Format::OpenMetrics),
            ("Accept: application/openmetrics-text;q=0.5,*/*", Format::Plain),
            (
                "Accept: text/plain;q=0.5\r\nAccept: application/openmetrics-text",
                Format::OpenMetrics,
            ),
            ("Accept: text/plain, Application/OpenMetrics-Text", Format::OpenMetrics),
            ("Accept: text/plain;version=0.0.4", Format::Plain),
            ("Accept: */*", Format::Plain),
            ("User-Agent: application/openmetrics-text", Format::Plain),
        ] {
            let head = format!("GET /metrics HTTP/1.1\r\n{accept}\r\n\r\n");
            let page_request = PageRequest { page: Page::Metrics(format), head_only: false };
            assert_eq!(parsed(&head), Parsed::Complete(page_request), "{accept}");
        }
    }

    #[test]
    fn any_other_request_is_refused_with_its_status() {
        for garbage in
            ["\0\0", "GET\r\n\r\n", "GET /metrics\r\n\r\n", "\u{16}\u{3}\u{1}", "a: b\r\n"]
        {
            assert_refused(garbage, "400");
        }
        assert_refused("GET / HTTP/1.1\r\n\r\n", "404");
        assert_refused("GET /metrics/ HTTP/1.1\r\n\r\n", "404");
        assert_refused("GET //healthz HTTP/1.1\r\n\r\n", "404");
        assert_refused("GET http://metrics HTTP/1.1\r\n\r\n", "404");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
            assert_refused(&format!("{method} /metrics HTTP/1.1\r\n\r\n"), "405");
        }
        assert_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505");
        let many = "a: b\r\n".repeat(65);
        assert_refused(&format!("GET /metrics HTTP/1.1\r\n{many}\r\n"), "431");
    }

    #[test]
    fn an_incomplete_head_is_refused_at_its_bound_and_not_one_byte_before() {
        let line = format!("GET /{}", "x".repeat(4096));
        assert_eq!(parsed(&line[..4095]), Parsed::Partial);
        assert_refused(&line[..4096], "414");
        let headers = format!("GET /metrics HTTP/1.1\r\na: {}", "x".repeat(4096));
        assert_eq!(parsed(&headers[..4095]), Parsed::Partial);
        assert_refused(&headers[..4096], "431");
    }

    #[test]
    fn the_response_to_head_names_the_length_of_the_body_that_it_omits() {
        let whole = response(Status::Ok, "text/plain", "three", false);
        let head = response(Status::Ok, "text/plain", "three", true);
        assert_eq!(whole, [head.as_slice(), b"three"].concat());
        assert!(String::from_utf8(head).unwrap().contains("\r\nContent-Length: 5\r\n"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_accepted_refused_or_a_beginning(bytes: Vec<u8>, begins_well: bool) {
            let beginning: &[u8] = if begins_well { b"GET /metrics HTTP/1.1\r\n" } else { b"" };
            let _ = parse(&[beginning, &bytes].concat());
        }
    }
}
