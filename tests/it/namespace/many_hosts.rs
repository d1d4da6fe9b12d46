//! `scripts/many-hosts.sh`: four hosts on a bridge load a server on a fifth.

use std::process::Command;

use serde_json::Value;

use crate::support::schema::check_bench_document;
use crate::support::{Counters, resound, run, tool, unshare_network};

/// Makes the hosts `h1` to `h5`, starts the server on the last one, and runs the script on the
/// others. Arguments: the program, the script, the folder for documents, the hosts of the load.
const BRIDGE: &str = r#"
set -eu
program=$0 script=$1 folder=$2
shift 2
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip link add br0 type bridge
ip link set br0 up
for i in 1 2 3 4 5; do
  ip netns add h$i
  ip link add v$i type veth peer name eth0 netns h$i
  ip link set v$i master br0 up
  ip -n h$i addr add 10.8.0.$i/24 dev eth0
  ip -n h$i link set eth0 up
  ip -n h$i link set lo up
done
ip netns exec h5 "$program" serve udp://10.8.0.5:7007 >"$folder/listening" 2>"$folder/log" &
server=$!
tries=0
while ! grep -q listening "$folder/listening"; do
  tries=$((tries + 1)); [ $tries -lt 1000 ]; sleep 0.01
done
code=0
RESOUND=$program "$script" --prefix 'ip netns exec' --program "$program" --out "$folder" \
  --lead "$LEAD" --merge -J "$@" -- udp://10.8.0.5:7007 \
  -c8 -r400 -t1s --warmup=100ms --timeout=50s --spin=0 || code=$?
kill "$server"
wait "$server"
exit $code
"#;

/// Runs the script on these hosts. Returns its exit code, its report, its stderr and the server's
/// log.
fn load(lead: &str, hosts: &[&str]) -> Option<(i32, Value, String, String)> {
    let unshare = unshare_network()?;
    tool("parallel")?;
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(unshare);
    command.args(["-n", "-m", "bash", "-c", BRIDGE]).arg(resound().get_program());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/many-hosts.sh"));
    command.arg(folder.path()).args(hosts).env("LEAD", lead);
    let ended = run(command);
    let document = serde_json::from_slice(&ended.stdout).expect(&ended.stderr);
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    Some((ended.code(), document, ended.stderr, log))
}

/// case B17
#[test]
fn four_hosts_give_one_report_that_agrees_with_the_server_to_the_message() {
    for lead in ["2", "10", "40"] {
        let Some((code, document, stderr, log)) = load(lead, &["h1", "h2", "h3", "h4"]) else {
            return;
        };
        if code == 1 && stderr.contains("too late") {
            continue; // the machine was too busy to start the parts in time
        }
        assert_eq!(code, 0, "{stderr}");
        check_bench_document(&document);
        let count = |pointer: &str| document.pointer(pointer).and_then(Value::as_u64).unwrap();
        let counters = Counters::last_of(&log);
        let sent = count("/messages/sent") + count("/warmup_messages/sent");
        assert_eq!(counters.get("udp_messages_in"), sent);
        let received = count("/messages/received") + count("/warmup_messages/received");
        assert_eq!(counters.get("udp_messages_out"), received);
        assert_eq!(document["parts"].as_array().unwrap().len(), 4);
        let rates = document["parts"].as_array().unwrap().iter();
        let sum: f64 = rates.map(|part| part["rate"]["achieved"].as_f64().unwrap()).sum();
        let achieved = document["rate"]["achieved"].as_f64().unwrap();
        assert!((achieved - sum).abs() < 1e-6, "{achieved} {sum}");
        assert_eq!(count("/connections"), 8);
        return;
    }
    panic!("40 s were too few to start the parts");
}

/// case B17
#[test]
fn a_host_that_cannot_be_reached_is_named_and_the_exit_code_is_1() {
    let Some((code, document, stderr, _)) = load("3", &["h1", "h9"]) else { return };
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("part-2.json: it is not a JSON document"), "{stderr}");
    assert_eq!(document["status"], "error");
}
