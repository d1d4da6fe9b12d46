//! The verdict on the generator, where a busy machine cannot make it wrong: the document says
//! whether the generator had time to spare. See `starved` for a generator that could not run.

use serde_json::Value;

use crate::bench::{Judge, at_once, count, good_json};

/// Returns true if the generator could run whenever it had to.
fn had_time(document: &Value) -> bool {
    let share = |name: &str| document["generator"][name].as_f64().unwrap_or(0.0);
    let lag_ns = &document["generator"]["schedule_lag_ns"]["max"];
    let kept_ns = |name: &str| document["hiccups"][name].as_u64().unwrap_or(0);
    share("cpu_share") < 0.5
        && share("wait_share") < 0.03
        && kept_ns("total_ns").max(kept_ns("throttled_ns")) * 200 < count(document, "/elapsed_ns")
        && lag_ns.as_u64().unwrap_or(0) < 1_000_000
}

/// case B14: a server that answers late, or seldom has something to answer, is not a limit of the
/// generator.
#[test]
fn a_generator_with_time_to_spare_is_ok_beside_an_idle_and_a_slow_server() {
    let rules = [&[][..], &["slow:1:0:0.02"]];
    at_once(&rules, |rules| {
        let judge = Judge::start("tcp://127.0.0.1:0", rules);
        for load in [&["-c2", "-n50"][..], &["-c4", "-r50", "-t1s"]] {
            let common = ["--warmup=0", "--timeout=50s", &judge.endpoint];
            let document = good_json(&[load, &common].concat());
            let verdict = &document["generator"]["verdict"];
            assert!(rules.is_empty() || verdict != "saturated", "{document:#}");
            assert!(!had_time(&document) || verdict == "ok", "{document:#}");
        }
    });
}
