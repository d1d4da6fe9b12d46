//! A connection: a request, its response, and the wait until the peer has it.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use super::http::{self, HEAD_BYTES_MAX, Parsed};
use crate::readiness::Readiness;

/// The reads and writes of one slice. A peer that sends or takes much must not delay the others.
const CALLS_PER_SLICE: usize = 8;

/// The bytes that a peer may still send after its response, such as the body of its request, which
/// the response did not wait for. A peer that sends more is reset.
pub(super) const LINGER_BYTES_MAX: usize = 64 << 10;

/// The state of a connection.
#[derive(Debug)]
pub(super) enum Exchange {
    /// Reading the request.
    Request { head: Vec<u8> },
    /// Waiting for the figures.
    Waiting {
        request: http::PageRequest,
        /// When the figures are late.
        until: Instant,
    },
    /// Sending the response.
    Response { bytes: Vec<u8>, sent: usize },
    /// Discarding input after the response and FIN. Closing with unread input would reset the
    /// connection, and the peer might lose the response.
    Lingering { read_bytes: usize },
}

/// How a slice of an exchange ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It waits for the peer or for the figures.
    Wait,
    /// The slice is used up.
    Again,
    /// The peer requests this page.
    Requested(http::PageRequest),
    /// The whole response has been sent.
    Sent,
    /// The peer has sent FIN, or more than it may.
    Finished,
}

impl Exchange {
    pub(super) fn new() -> Exchange {
        Exchange::Request { head: Vec::new() }
    }

    pub(super) fn respond(response: Vec<u8>) -> Exchange {
        Exchange::Response { bytes: response, sent: 0 }
    }

    pub(super) fn linger() -> Exchange {
        Exchange::Lingering { read_bytes: 0 }
    }

    /// Advances as far as one slice allows.
    pub(super) fn advance(
        &mut self,
        stream: &mut (impl Read + Write),
        readiness: &mut Readiness,
    ) -> io::Result<Step> {
        for _ in 0..CALLS_PER_SLICE {
            let reads = !matches!(self, Exchange::Response { .. });
            match self.advance_once(stream) {
                Ok(Step::Again) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if reads {
                        readiness.clear_readable();
                    } else {
                        readiness.clear_writable();
                    }
                    return Ok(Step::Wait);
                }
                other => return other,
            }
        }
        Ok(Step::Again)
    }

    fn advance_once(&mut self, stream: &mut (impl Read + Write)) -> io::Result<Step> {
        let mut scratch = [0; HEAD_BYTES_MAX];
        match self {
            Exchange::Request { head } => {
                let room = HEAD_BYTES_MAX - head.len();
                let count = stream.read(&mut scratch[..room])?;
                if count == 0 {
                    return Ok(Step::Finished);
                }
                head.extend_from_slice(&scratch[..count]);
                match http::parse(head) {
                    Parsed::Partial => {}
                    Parsed::Complete(request) => return Ok(Step::Requested(request)),
                    Parsed::Refused(response) => *self = Exchange::respond(response),
                }
                Ok(Step::Again)
            }
            Exchange::Waiting { .. } => Ok(Step::Wait),
            Exchange::Response { bytes, sent } => {
                let count = stream.write(&bytes[*sent..])?;
                if count == 0 {
                    return Err(ErrorKind::WriteZero.into());
                }
                *sent += count;
                Ok(if *sent == bytes.len() { Step::Sent } else { Step::Again })
            }
            Exchange::Lingering { read_bytes } => {
                let count = stream.read(&mut scratch)?;
                *read_bytes += count;
                let is_over = count == 0 || *read_bytes >= LINGER_BYTES_MAX;
                Ok(if is_over { Step::Finished } else { Step::Again })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::http::{Page, PageRequest, Status, text_response};
    use crate::testing::{Input, Output, ScriptedStream};

    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";

    /// More than a head, and more than a peer may send after its response.
    static PLENTY: [u8; 100 << 10] = [b'x'; 100 << 10];

    /// A read that finds nothing yet.
    const NO_INPUT: Input = Input::Fails(libc::EAGAIN);

    fn sending(inputs: impl IntoIterator<Item = Input>) -> ScriptedStream {
        ScriptedStream { inputs: inputs.into_iter().collect(), ..ScriptedStream::default() }
    }

    /// Advances until a step is neither `Wait` nor `Again`. Returns that step, and the number of
    /// waits.
    fn run(exchange: &mut Exchange, stream: &mut ScriptedStream) -> (io::Result<Step>, usize) {
        let mut waits = 0;
        loop {
            let mut readiness = Readiness::READABLE;
            readiness.merge(Readiness::WRITABLE);
            let before = readiness;
            match exchange.advance(stream, &mut readiness) {
                Ok(Step::Wait) => {
                    waits += 1;
                    assert_ne!(readiness, before, "WouldBlock was seen");
                    assert!(waits < 1_000, "the script has ended");
                }
                Ok(Step::Again) => {}
                other => return (other, waits),
            }
        }
    }

    #[test]
    fn a_request_may_arrive_byte_by_byte() {
        let bytes = REQUEST.chunks(1).flat_map(|byte| [NO_INPUT, Input::Bytes(byte)]);
        let (step, waits) = run(&mut Exchange::new(), &mut sending(bytes));
        let request = PageRequest { page: Page::Health, head_only: false };
        assert_eq!((step.unwrap(), waits), (Step::Requested(request), 34));
    }

    #[test]
    fn a_peer_that_leaves_in_the_middle_of_its_request_gets_no_response() {
        for cut in [0, 1, REQUEST.len() - 1] {
            let begun = (cut > 0).then_some(Input::Bytes(&REQUEST[..cut]));
            let mut stream = sending(begun.into_iter().chain([Input::Fin]));
            let (step, _) = run(&mut Exchange::new(), &mut stream);
            assert_eq!(step.unwrap(), Step::Finished);
            assert_eq!(stream.writes, 0);
        }
    }

    #[test]
    fn a_head_without_end_is_refused_when_its_bound_is_reached() {
        let mut stream = sending([Input::Bytes(&PLENTY)]);
        let (step, _) = run(&mut Exchange::new(), &mut stream);
        assert_eq!(step.unwrap(), Step::Sent);
        assert!(stream.written.starts_with(b"HTTP/1.1 414 "));
        assert!(matches!(stream.inputs[0], Input::Bytes(rest) if rest.len() == 96 << 10));
    }

    #[test]
    fn a_response_is_sent_in_pieces_as_the_peer_takes_it() {
        let response = text_response(Status::Ok, &"x".repeat(1_000), false);
        let pieces = response.len().div_ceil(7);
        let outputs = [Output::Fails(libc::EAGAIN), Output::Takes(7)].repeat(pieces);
        let mut stream = ScriptedStream { outputs: outputs.into(), ..sending([]) };
        let (step, waits) = run(&mut Exchange::respond(response.clone()), &mut stream);
        assert_eq!((step.unwrap(), waits), (Step::Sent, pieces));
        assert_eq!(stream.written, response);
    }

    #[test]
    fn a_write_that_takes_nothing_ends_the_exchange() {
        let mut stream = ScriptedStream { outputs: [Output::Takes(0)].into(), ..sending([]) };
        let (step, _) = run(&mut Exchange::respond(b"x".to_vec()), &mut stream);
        assert_eq!(step.unwrap_err().kind(), ErrorKind::WriteZero);
    }

    #[test]
    fn input_after_the_response_is_read_until_the_peer_ends_it() {
        let pieces = (0..50).flat_map(|_| [Input::Bytes(&PLENTY[..100]), NO_INPUT]);
        let mut stream = sending(pieces.chain([Input::Fin]));
        let mut readiness = Readiness::READABLE;
        let step = Exchange::linger().advance(&mut stream, &mut readiness).unwrap();
        assert_eq!((step, stream.reads), (Step::Wait, 2));
        let (step, waits) = run(&mut Exchange::linger(), &mut stream);
        assert_eq!((step.unwrap(), waits), (Step::Finished, 49));
    }

    /// case S11, of the metrics
    #[test]
    fn a_peer_that_never_stops_sending_is_closed_after_64_kib_in_slices_of_8_reads() {
        let mut stream = sending([Input::Bytes(&PLENTY)]);
        let mut readiness = Readiness::READABLE;
        let mut exchange = Exchange::linger();
        let step = exchange.advance(&mut stream, &mut readiness).unwrap();
        assert_eq!((step, readiness, stream.reads), (Step::Again, Readiness::READABLE, 8));
        let step = exchange.advance(&mut stream, &mut readiness).unwrap();
        assert_eq!((step, stream.reads, stream.writes), (Step::Finished, 16, 0));
        assert!(matches!(stream.inputs[0], Input::Bytes(rest) if rest.len() == 36 << 10));
    }
}
