//! An echo server inside a program of your own: `cargo run --example embedded_echo`.
//!
//! It runs on a thread until the program has what it wants, then is stopped.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use resound::echo::{Options, Server};
use resound::reactor::Reactor;

fn main() -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new()?;
    let mut server = Server::new(Options::default());
    let tcp = server.listen(&mut reactor, &"tcp://127.0.0.1:0".parse()?)?;
    let udp = server.listen(&mut reactor, &"udp://127.0.0.1:0".parse()?)?;
    let stop = reactor.handle();
    let thread = thread::spawn(move || reactor.run(&mut server).map(|()| server));

    let mut stream = TcpStream::connect(tcp.addrs[0])?;
    stream.write_all(b"Are you talking to me?")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;

    stop.stop();
    let server = thread.join().expect("the loop does not panic")?;
    writeln!(std::io::stdout(), "{} and {} answered: {answer}", tcp.endpoint, udp.endpoint)?;
    writeln!(std::io::stdout(), "{}", server.counters())?;
    Ok(())
}
