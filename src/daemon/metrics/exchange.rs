//! One connection: a request, its response, and the wait for the peer to have it.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use super::http::{self, HEAD_BYTES_MAX, Parsed};
use crate::readiness::Readiness;

/// Reads and writes of one slice, so that nobody waits long for a peer that has much to say.
const CALLS_PER_SLICE: usize = 8;

/// What a peer may go on sending once its response is sent: the body of a request, which the
/// response did not wait for. A peer that sends more is not worth the reading, and is reset.
pub(super) const LINGER_BYTES_MAX: usize = 64 << 10;

/// Where a connection stands.
#[derive(Debug)]
pub(super) enum Exchange {
    /// The request is still coming.
    Request { head: Vec<u8> },
    /// For the loops' answers.
    Waiting {
        asked: http::Asked,
        /// How long they have.
        until: Instant,
    },
    /// The response is still leaving.
    Response { bytes: Vec<u8>, sent: usize },
    /// All is sent, FIN among it. Closed at once, with input unread, the connection would be reset,
    /// and the peer might never see the response.
    Lingering { read_bytes: usize },
}

/// What a slice of an exchange ended with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// For the peer, or for the loops.
    Wait,
    /// The slice is used up.
    Again,
    /// The peer wants to know this.
    Asked(http::Asked),
    /// The whole response is sent.
    Sent,
    /// The peer has nothing more to say.
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

    /// Goes on as far as it can in a slice.
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
                    Parsed::Asked(asked) => return Ok(Step::Asked(asked)),
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
    use std::collections::VecDeque;

    use super::*;
    use crate::daemon::metrics::http::{Asked, Page, Status, reasoned};

    /// A peer that sends these pieces, takes so many bytes a write, and blocks after each call.
    struct Script {
        pieces: VecDeque<Vec<u8>>,
        write_bytes_max: usize,
        taken: Vec<u8>,
        blocks: bool,
    }

    impl Script {
        fn sending(pieces: impl IntoIterator<Item = Vec<u8>>) -> Script {
            let pieces = pieces.into_iter().collect();
            Script { pieces, write_bytes_max: 7, taken: Vec::new(), blocks: false }
        }

        fn block(&mut self) -> io::Result<()> {
            self.blocks = !self.blocks;
            if self.blocks { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        }
    }

    impl Read for Script {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.block()?;
            let mut piece = self.pieces.pop_front().unwrap_or_default();
            let count = piece.len().min(buf.len());
            buf[..count].copy_from_slice(&piece[..count]);
            let rest = piece.split_off(count);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
            Ok(count)
        }
    }

    impl Write for Script {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.block()?;
            let count = buf.len().min(self.write_bytes_max);
            self.taken.extend_from_slice(&buf[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Goes on to the first step that is neither of the two, and tells how often it had to wait.
    fn run(exchange: &mut Exchange, script: &mut Script) -> (io::Result<Step>, usize) {
        let mut waits = 0;
        loop {
            let mut readiness = Readiness::READABLE;
            readiness.merge(Readiness::WRITABLE);
            let before = readiness;
            match exchange.advance(script, &mut readiness) {
                Ok(Step::Wait) => {
                    waits += 1;
                    assert_ne!(readiness, before, "WouldBlock was seen");
                }
                Ok(Step::Again) => {}
                other => return (other, waits),
            }
        }
    }

    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn a_request_may_come_byte_by_byte() {
        let mut script = Script::sending(REQUEST.iter().map(|byte| vec![*byte]));
        let (step, waits) = run(&mut Exchange::new(), &mut script);
        assert_eq!(step.unwrap(), Step::Asked(Asked { page: Page::Health, head_only: false }));
        assert_eq!(waits, REQUEST.len());
    }

    #[test]
    fn a_peer_that_leaves_in_the_middle_of_its_request_is_let_go() {
        for cut in [0, 1, REQUEST.len() - 1] {
            let mut script =
                Script::sending([REQUEST[..cut].to_vec()].into_iter().filter(|p| !p.is_empty()));
            let (step, _) = run(&mut Exchange::new(), &mut script);
            assert_eq!(step.unwrap(), Step::Finished);
            assert!(script.taken.is_empty());
        }
    }

    #[test]
    fn a_head_without_end_is_answered_when_its_bound_is_reached() {
        let mut script = Script::sending([vec![b'x'; 10 * HEAD_BYTES_MAX]]);
        let (step, _) = run(&mut Exchange::new(), &mut script);
        assert_eq!(step.unwrap(), Step::Sent);
        assert!(script.taken.starts_with(b"HTTP/1.1 414 "));
        assert_eq!(script.pieces[0].len(), 9 * HEAD_BYTES_MAX, "no more was read");
    }

    #[test]
    fn a_response_leaves_in_pieces_as_the_peer_takes_it() {
        let response = reasoned(Status::Ok, &"x".repeat(1_000), false);
        let mut script = Script::sending([]);
        let (step, waits) = run(&mut Exchange::respond(response.clone()), &mut script);
        assert_eq!(step.unwrap(), Step::Sent);
        assert_eq!(waits, response.len().div_ceil(7));
        assert_eq!(script.taken, response);
    }

    #[test]
    fn a_write_that_takes_nothing_ends_the_exchange() {
        let mut script = Script { write_bytes_max: 0, ..Script::sending([]) };
        let (step, _) = run(&mut Exchange::respond(b"x".to_vec()), &mut script);
        assert_eq!(step.unwrap_err().kind(), ErrorKind::WriteZero);
    }

    #[test]
    fn what_a_peer_goes_on_sending_is_read_until_it_ends_in_bounded_slices() {
        let mut script = Script::sending(vec![vec![1; 100]; 50]);
        let mut readiness = Readiness::READABLE;
        script.blocks = true;
        let step = Exchange::linger().advance(&mut script, &mut readiness).unwrap();
        assert_eq!(step, Step::Wait);
        assert_eq!(script.pieces.len(), 49);
        let (step, waits) = run(&mut Exchange::linger(), &mut script);
        assert_eq!((step.unwrap(), waits), (Step::Finished, 49));
    }

    /// case S11, of the metrics
    #[test]
    fn a_peer_that_never_stops_sending_is_let_go_after_bounded_bytes_in_bounded_slices() {
        struct Endless;
        impl Read for Endless {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                Ok(buf.len())
            }
        }
        impl Write for Endless {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                panic!("nothing is sent")
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut readiness = Readiness::READABLE;
        let mut exchange = Exchange::linger();
        let slices_max = LINGER_BYTES_MAX / HEAD_BYTES_MAX / CALLS_PER_SLICE;
        for _ in 1..slices_max {
            let step = exchange.advance(&mut Endless, &mut readiness).unwrap();
            assert_eq!((step, readiness), (Step::Again, Readiness::READABLE));
        }
        assert_eq!(exchange.advance(&mut Endless, &mut readiness).unwrap(), Step::Finished);
    }
}
