//! `resound send`: sends a message or stdin to an endpoint, and prints the reply to stdout.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use clap::Args;
use resound::endpoint::{Endpoint, Scope, check_datagram, places};
use resound::escape::TerminalText;
use resound::send::{Event, Options, send};
use resound::socket::SocketOptions;

use super::flags::{BindFlags, FamilyFlags, client_options};
use super::values::timeout;
use super::{print_error, print_note, standard};

/// Send a message, or all of stdin, and print the reply
#[derive(Debug, Args)]
#[command(after_help = "T is a time such as 200us, 1.5s or 2m; a bare number is seconds.")]
pub(super) struct Arguments {
    /// tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unixgram:PATH, unix:@NAME, unixgram:@NAME
    #[arg(value_name = "ENDPOINT")]
    endpoint: Endpoint,

    /// What to send [default: stdin; a datagram endpoint gets one datagram per line]
    #[arg(value_name = "MESSAGE")]
    message: Option<std::ffi::OsString>,

    /// Stop after T without a byte; also limits name lookup and connecting
    #[arg(long, value_name = "T", default_value = "2s", value_parser = timeout)]
    timeout: Duration,

    /// Do not shut down the sending side of a stream at the end of input
    #[arg(long)]
    no_shutdown: bool,

    /// Do not wait for a reply
    #[arg(long)]
    no_reply: bool,

    /// Exit with 1 unless the reply is exactly what was sent; with datagrams, each reply
    #[arg(long, conflicts_with = "no_reply")]
    expect_echo: bool,

    /// Print the peer's address to stderr
    #[arg(short, long)]
    verbose: bool,

    #[command(flatten)]
    bind: BindFlags,

    #[command(flatten)]
    family: FamilyFlags,
}

impl Arguments {
    /// What no flag can tell by itself.
    pub(super) fn check(&self) -> Result<(), String> {
        self.family.check(&self.endpoint)?;
        if let Some(message) = &self.message {
            let (length, family) = (message.len() as u64, self.family.likely(&self.endpoint));
            check_datagram(length, "[MESSAGE]", self.endpoint.transport(), family)?;
        }
        self.bind.check_places(&places([&self.endpoint]))?;
        self.bind.check(Some(&self.endpoint), &self.family)
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), resound::Error> {
    let given: Vec<_> = arguments.family.given().into_iter().collect();
    if let Some(warning) = Scope::Ip.warning(&given, &places([&arguments.endpoint])) {
        print_error(&warning);
    }
    let input: Option<Box<dyn Read + Send>> = match arguments.message {
        Some(_) => None,
        None => Some(Box::new(standard::stdin())),
    };
    let options = Options {
        socket: client_options(SocketOptions::default(), &arguments.bind, &arguments.family),
        bind: arguments.bind.addrs().to_vec(),
        endpoint: arguments.endpoint,
        message: arguments.message.map(|message| message.into_encoded_bytes()),
        timeout: arguments.timeout,
        shutdown: !arguments.no_shutdown,
        reply: !arguments.no_reply,
        expect_echo: arguments.expect_echo,
    };
    let terminal = standard::stdout().is_terminal().then(TerminalText::default);
    let mut printer = Printer { terminal, is_closed: false };
    let sent = send(&options, input, |event| match event {
        Event::Connected(peer) if arguments.verbose => print_note(&format_args!("peer {peer}")),
        Event::Connected(_) => Ok(()),
        Event::Warning(warning) => {
            print_error(&warning);
            Ok(())
        }
        Event::Reply(bytes) => printer.print(bytes),
        Event::ReplyEnded => printer.end_line(),
    });
    // A failure may have cut the reply off in the middle of a line.
    let ended = printer.end_line();
    match sent.and(ended) {
        // The reader of stdout has closed its end. That is not an error.
        Err(_) if printer.is_closed => Ok(()),
        other => other,
    }
}

/// Prints replies to stdout: unchanged, or escaped if stdout is a terminal.
struct Printer {
    /// Escapes the replies; present only if stdout is a terminal.
    terminal: Option<TerminalText>,
    is_closed: bool,
}

impl Printer {
    fn print(&mut self, bytes: &[u8]) -> Result<(), resound::Error> {
        let shown = self.terminal.as_mut().map(|terminal| terminal.next(bytes));
        self.write(shown.as_deref().unwrap_or(bytes))
    }

    /// Ends the last line on a terminal, so that the prompt and each datagram begin on a new line.
    fn end_line(&mut self) -> Result<(), resound::Error> {
        let rest = self.terminal.as_mut().map(TerminalText::end_line);
        self.write(&rest.unwrap_or_default())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), resound::Error> {
        standard::stdout().write_all(bytes).map_err(|error| {
            self.is_closed = error.kind() == ErrorKind::BrokenPipe;
            resound::Error::new("write to", "stdout", error)
        })
    }
}
