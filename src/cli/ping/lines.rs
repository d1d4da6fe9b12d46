//! The lines of `ping` about single probes.

use resound::measured::Stretches;
use resound::ping::{Answer, AnswerKind, Event, Options};
use resound::report::time_text;
use resound::units::duration_ns;

pub(super) fn header(options: &Options) -> String {
    format!("PING {}: {}\n", options.endpoint, bytes(options.length))
}

fn bytes(length: usize) -> String {
    let plural = if length == 1 { "" } else { "s" };
    format!("{length} byte{plural}")
}

/// Returns the line about an event, if it has one. With several targets, every line names its own.
pub(super) fn line(options: &Options, is_several: bool, event: &Event<'_>) -> Option<String> {
    let endpoint = &options.endpoint;
    let target = if is_several { format!("{endpoint}: ") } else { String::new() };
    let text = match event {
        Event::Started | Event::Figures(_) | Event::Counts(_) | Event::NoTimestamps(_) => {
            return None;
        }
        Event::Answer(answer) => {
            let Answer { number, length, .. } = *answer;
            let (time, remarks) = (time_text(duration_ns(answer.time)), remarks(answer));
            format!("{} from {endpoint}: seq={number} time={time}{remarks}", bytes(length))
        }
        Event::Lost { number, loss } if loss.is_timeout() => {
            let timeout = humantime::format_duration(options.timeout);
            format!("{target}seq={number} {loss} within {timeout}")
        }
        Event::Lost { number, loss } => format!("{target}seq={number} {loss}"),
        Event::Unasked(length) => {
            format!("{} from {endpoint}: no echo of any probe", bytes(*length))
        }
        Event::Disconnected(loss) => format!("{endpoint}: {loss}"),
    };
    Some(text + "\n")
}

fn remarks(answer: &Answer) -> String {
    let mut remarks = String::new();
    if let Some(Stretches { send_ns, away_ns, wake_ns }) = answer.stretches {
        let [send, away, wake] = [send_ns, away_ns, wake_ns].map(time_text);
        remarks += &format!(" (send {send}, away {away}, wake {wake})");
    }
    match answer.kind {
        AnswerKind::InTime => {}
        AnswerKind::Late => remarks += " (late)",
        AnswerKind::Duplicate => remarks += " (DUP!)",
    }
    if answer.is_reordered {
        remarks += " (out of order)";
    }
    if let Some(offset) = answer.difference {
        remarks += &format!(" (corrupted at byte {offset})");
    }
    remarks
}
