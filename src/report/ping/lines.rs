//! The lines of `ping` about single probes.

use crate::measured::Stretches;
use crate::measured::ping::{Event, Reply, ReplyKind, Target};
use crate::report::time_text;
use crate::units::{counted, duration_ns};

/// Returns the first line, which names the target.
pub fn header(target: &Target) -> String {
    format!("PING {}: {}\n", target.endpoint, bytes(target.length))
}

fn bytes(length: usize) -> String {
    counted(length as u64, "byte")
}

/// Returns the line about an event, if it has one. With several targets, every line names its own.
pub fn line(target: &Target, is_several: bool, event: &Event<'_>) -> Option<String> {
    let endpoint = &target.endpoint;
    let start = if is_several { format!("{endpoint}: ") } else { String::new() };
    let text = match event {
        Event::Started | Event::Figures(_) | Event::Counts(_) | Event::NoTimestamps(_) => {
            return None;
        }
        Event::Reply(reply) => {
            let Reply { number, length, .. } = *reply;
            let (time, remarks) = (time_text(duration_ns(reply.time)), remarks(reply));
            format!("{} from {endpoint}: seq={number} time={time}{remarks}", bytes(length))
        }
        Event::Lost { number, loss } if loss.is_timeout() => {
            let timeout = humantime::format_duration(target.timeout);
            format!("{start}seq={number} {loss} within {timeout}")
        }
        Event::Lost { number, loss } => format!("{start}seq={number} {loss}"),
        Event::Unasked(length) => {
            format!("{} from {endpoint}: no echo of any probe", bytes(*length))
        }
        Event::Disconnected(loss) => format!("{endpoint}: {loss}"),
    };
    Some(text + "\n")
}

fn remarks(reply: &Reply) -> String {
    let mut remarks = String::new();
    if let Some(Stretches { send_ns, away_ns, wake_ns }) = reply.stretches {
        let [send, away, wake] = [send_ns, away_ns, wake_ns].map(time_text);
        remarks += &format!(" (send {send}, away {away}, wake {wake})");
    }
    match reply.kind {
        ReplyKind::InTime => {}
        ReplyKind::Late => remarks += " (late)",
        ReplyKind::Duplicate => remarks += " (DUP!)",
    }
    if reply.is_reordered {
        remarks += " (out of order)";
    }
    if let Some(offset) = reply.difference {
        remarks += &format!(" (corrupted at byte {offset})");
    }
    remarks
}
