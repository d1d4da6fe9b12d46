//! `resound send`: one message or stdin to an endpoint, the answer to stdout.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use clap::Args;
use resound::endpoint::Endpoint;
use resound::escape::TerminalText;
use resound::send::{Event, Options, send};

use super::values::timeout;
use super::{complain, standard, tell};

/// Send a message, or stdin to its end, and print the answer.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unixgram:PATH, unix:@NAME, unixgram:@NAME
    #[arg(value_name = "ENDPOINT")]
    endpoint: Endpoint,

    /// What to send; without it stdin, of which a datagram endpoint gets one datagram a line
    #[arg(value_name = "MESSAGE")]
    message: Option<std::ffi::OsString>,

    /// End after T without a byte; also the limit for the look-up of the name and for connecting
    #[arg(long, value_name = "T", default_value = "2s", value_parser = timeout)]
    timeout: Duration,

    /// Leave the sending side of a stream open at the end of input
    #[arg(long)]
    no_shutdown: bool,

    /// Do not wait for an answer
    #[arg(long)]
    no_reply: bool,

    /// Exit 1 unless the answer is exactly what was sent; of datagrams each answer
    #[arg(long, conflicts_with = "no_reply")]
    expect_echo: bool,

    /// Print the peer's address to stderr
    #[arg(short, long)]
    verbose: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), resound::Error> {
    let input: Option<Box<dyn Read + Send>> = match arguments.message {
        Some(_) => None,
        None => Some(Box::new(standard::stdin())),
    };
    let options = Options {
        endpoint: arguments.endpoint,
        message: arguments.message.map(|message| message.into_encoded_bytes()),
        timeout: arguments.timeout,
        shutdown: !arguments.no_shutdown,
        reply: !arguments.no_reply,
        expect_echo: arguments.expect_echo,
    };
    let mut printer = Printer::new();
    let sent = send(&options, input, |event| match event {
        Event::Connected(peer) if arguments.verbose => tell(&format_args!("peer {peer}")),
        Event::Connected(_) => Ok(()),
        Event::Warning(warning) => {
            complain(&warning);
            Ok(())
        }
        Event::Answer(bytes) => printer.print(bytes),
        Event::AnswerEnded => printer.end_line(),
    });
    // A failure may have cut the answer short.
    let ended = printer.end_line();
    match sent.and(ended) {
        // Whoever read the answer has left: a quiet end.
        Err(_) if printer.is_closed => Ok(()),
        other => other,
    }
}

/// Prints answers exactly as they come, or fit for a terminal.
struct Printer {
    /// Where stdout is one.
    terminal: Option<TerminalText>,
    ends_in_line: bool,
    is_closed: bool,
}

impl Printer {
    fn new() -> Printer {
        let terminal = standard::stdout().is_terminal().then(TerminalText::default);
        Printer { terminal, ends_in_line: true, is_closed: false }
    }

    fn print(&mut self, bytes: &[u8]) -> Result<(), resound::Error> {
        match &mut self.terminal {
            Some(terminal) => {
                let shown = terminal.next(bytes);
                self.write(&shown)
            }
            None => self.write(bytes),
        }
    }

    /// On a terminal the prompt begins a line of its own, and so does each datagram.
    fn end_line(&mut self) -> Result<(), resound::Error> {
        let Some(terminal) = &mut self.terminal else { return Ok(()) };
        let rest = terminal.end();
        self.write(&rest)?;
        if self.ends_in_line { Ok(()) } else { self.write(b"\n") }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), resound::Error> {
        if let Some(last) = bytes.last() {
            self.ends_in_line = *last == b'\n';
        }
        standard::stdout().write_all(bytes).map_err(|error| {
            self.is_closed = error.kind() == ErrorKind::BrokenPipe;
            resound::Error::new("write to", "stdout", error)
        })
    }
}
