//! An echo server inside another program: `cargo run --example embedded_echo`.
//!
//! The server runs on a thread until the program stops it.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use resound::echo::{Options, Server, Service};

fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::new(Options::default());
    let endpoints = ["tcp://127.0.0.1:0".parse()?, "udp://127.0.0.1:0".parse()?];
    let service = Service::start(server, &endpoints)?;
    let [tcp, udp] = service.bound() else { unreachable!("two endpoints are open") };

    let mut stream = TcpStream::connect(tcp.addrs[0])?;
    stream.write_all(b"Are you talking to me?")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;

    writeln!(std::io::stdout(), "{} and {} answered: {answer}", tcp.endpoint, udp.endpoint)?;
    let server = service.stop()?;
    writeln!(std::io::stdout(), "{}", server.counters())?;
    Ok(())
}
