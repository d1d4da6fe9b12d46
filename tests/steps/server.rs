//! A step as a process of its own: this test binary, which starts itself again.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use socket2::SockRef;

use crate::wait::{WAIT_MAX, wait_until};

const NUMBER: &str = "RESOUND_TEST_STEP";
const CLIENTS_MAX: &str = "RESOUND_TEST_STEP_CLIENTS_MAX";

/// A running step. Dropping it ends the process.
pub(crate) struct Server {
    process: Child,
    addr: SocketAddr,
    lines: Receiver<String>,
}

/// Runs the step that the environment names.
#[test]
#[allow(clippy::print_stdout)]
#[ignore = "the other tests start it, as the process of a step"]
fn process_of_a_step() {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse::<usize>().ok());
    let number = variable(NUMBER).expect("a number of a step");
    let clients_max = variable(CLIENTS_MAX).unwrap_or(10_000);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Accepted sockets inherit it. The default takes megabytes before a write is refused.
    SockRef::from(&listener).set_send_buffer_size(64 << 10).unwrap();
    println!("\nlistening {}", listener.local_addr().unwrap());
    let ended = match number {
        1 => crate::step1_blocking::serve(&listener),
        2 => crate::step2_threads::serve(&listener),
        3 => crate::step3_busy::serve(&listener),
        4 => crate::step4_poll::serve(&listener),
        5 => crate::step5_edges::serve(listener),
        6 => crate::step6_slab::serve(listener, clients_max),
        7 => crate::step7_unfair::serve(listener, clients_max),
        8 => crate::step8_fair::serve(listener, clients_max),
        other => panic!("there is no step {other}"),
    };
    panic!("the server ended: {ended:?}");
}

impl Server {
    pub(crate) fn start(number: usize) -> Server {
        Server::start_with_limit(number, 10_000)
    }

    pub(crate) fn start_with_limit(number: usize, clients_max: usize) -> Server {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "server::process_of_a_step", "--nocapture"]);
        command.env(NUMBER, number.to_string()).env(CLIENTS_MAX, clients_max.to_string());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        // It ends with the process.
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut server = Server { process, addr: ([127, 0, 0, 1], 0).into(), lines };
        server.addr = server.rest_of_line("listening ").parse().unwrap();
        server
    }

    /// Waits for a line that begins so, and returns its rest.
    fn rest_of_line(&self, start: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(WAIT_MAX).unwrap();
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    /// Waits for the line that the step prints when a client leaves, and returns its numbers.
    pub(crate) fn counts<const N: usize>(&self) -> [usize; N] {
        let line = self.rest_of_line("a client left: ");
        let numbers = line.split(' ').filter_map(|word| word.parse().ok());
        numbers.collect::<Vec<usize>>().try_into().unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.addr).unwrap();
        client.set_read_timeout(Some(WAIT_MAX)).unwrap();
        client.set_write_timeout(Some(WAIT_MAX)).unwrap();
        client
    }

    /// Stops all threads of the process, as Ctrl-Z does.
    pub(crate) fn halt(&self) {
        self.signal(Signal::STOP);
        wait_until("the halt", || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
            let stats = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")));
            stats.into_iter().all(|stat| fields_of_stat(&stat.unwrap())[0] == "T")
        });
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap().count()
    }

    /// Returns the CPU time of the process in ticks, which are a hundredth of a second.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields = fields_of_stat(&stat);
        // utime and stime of proc_pid_stat(5).
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Returns how many bytes of this client the server has left in its socket, or `None` if the
    /// server's side of the connection is gone. A connection in the queue of the listener counts.
    pub(crate) fn unread(&self, client: &TcpStream) -> Option<usize> {
        self.unread_of_port(client.local_addr().unwrap().port())
    }

    pub(crate) fn unread_of_port(&self, client: u16) -> Option<usize> {
        const ESTABLISHED: &str = "01";
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let (own, client) = (format!(":{:04X}", self.addr.port()), format!(":{client:04X}"));
        table.lines().find_map(|line| {
            // "  1: 0100007F:1B5F 0100007F:9C40 01 00000000:00000003 ..."
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_it = fields[1].ends_with(&own) && fields[2].ends_with(&client);
            let (_, unread) = fields[4].split_once(':').filter(|_| is_it)?;
            (fields[3] == ESTABLISHED).then(|| usize::from_str_radix(unread, 16).unwrap())
        })
    }
}

/// Returns the fields of proc_pid_stat(5) behind the name, which may contain spaces.
fn fields_of_stat(stat: &str) -> Vec<&str> {
    stat.rsplit_once(") ").unwrap().1.split(' ').collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
