//! `scripts/many-hosts.sh`: hosts on a bridge load a server on a host of their own.

use std::process::Command;

use serde_json::Value;

use crate::support::schema::check_bench_document;
use crate::support::{Counters, resound, run, tool, unshare_network};

/// Makes the hosts `h1` to `h5`, starts the server on the last one, and runs the script on others.
/// Arguments: the program, the script, the folder for documents, `netns` or `ssh`, the hosts of the
/// load, and the flags of the load after `--`. With `ssh`, `h1` and `h2` run an sshd with a key of
/// its own.
///
/// All processes are in a PID namespace, so they end with this script.
const BRIDGE: &str = r#"
set -eu
program=$0 script=$1 folder=$2 way=$3
shift 3
mount -t tmpfs -o mode=755 none /run
mkdir /run/netns /run/sshd
ip link add br0 type bridge
ip link set br0 up
ip addr add 10.8.0.100/24 dev br0
for i in 1 2 3 4 5; do
  ip netns add h$i
  ip link add v$i type veth peer name eth0 netns h$i
  ip link set v$i master br0 up
  ip -n h$i addr add 10.8.0.$i/24 dev eth0
  ip -n h$i link set eth0 up
  ip -n h$i link set lo up
done
await() {
  tries=0
  until "$@" 2>/dev/null; do
    tries=$((tries + 1)); [ $tries -lt 3000 ]; sleep 0.01
  done
}
ip netns exec h5 "$program" serve udp://10.8.0.5:7007 >"$folder/listening" 2>"$folder/log" &
server=$!
await grep -q listening "$folder/listening"

prefix='ip netns exec'
if [ "$way" = ssh ]; then
  ssh-keygen -q -t ed25519 -N '' -f "$folder/user"
  for i in 1 2; do
    ssh-keygen -q -t ed25519 -N '' -f "$folder/host$i"
    echo "[10.8.0.$i]:2207 $(cut -d' ' -f1,2 "$folder/host$i.pub")" >>"$folder/known"
    cat >"$folder/sshd$i" <<END
ListenAddress 10.8.0.$i:2207
HostKey $folder/host$i
AuthorizedKeysFile $folder/user.pub
StrictModes no
PidFile none
KbdInteractiveAuthentication no
PasswordAuthentication no
ForceCommand ${LATE:+[ $i = 1 ] || sleep $LATE; }eval "\$SSH_ORIGINAL_COMMAND"
END
    ip netns exec h$i "$SSHD" -D -f "$folder/sshd$i" -E "$folder/sshd$i.log" &
    printf 'Host h%s\n  HostName 10.8.0.%s\n' $i $i >>"$folder/ssh"
    await grep -q 'Server listening' "$folder/sshd$i.log"
  done
  cat >>"$folder/ssh" <<END
Host *
  User root
  Port 2207
  IdentityFile $folder/user
  IdentitiesOnly yes
  GlobalKnownHostsFile none
  UserKnownHostsFile $folder/known
END
  prefix="ssh -F $folder/ssh -o BatchMode=yes"
fi

# Kills the program on h2 as soon as it sends.
kill_part() {
  await ip netns exec h2 awk '/^Udp:/ && $5 + 0 > 0 { sent = 1 } END { exit !sent }' /proc/net/snmp
  for pid in $(ip netns pids h2); do
    [ "$(cat /proc/$pid/comm)" != resound ] || kill -KILL "$pid"
  done
}
[ -z "${KILL-}" ] || kill_part &

code=0
RESOUND=$program "$script" --prefix "$prefix" --program "$program" --out "$folder" \
  --lead "$LEAD" --merge -J "$@" || code=$?
kill "$server"
wait "$server"
exit $code
"#;

/// A load from hosts of a bridge.
struct Load {
    way: &'static str,
    hosts: &'static [&'static str],
    lead: &'static str,
    duration: &'static str,
    /// `LATE`: h2 starts its part so many seconds later. `KILL`: its part dies.
    fault: Option<(&'static str, &'static str)>,
}

/// What a load gave.
struct Report {
    code: i32,
    document: Value,
    stderr: String,
    server_log: String,
}

impl Load {
    /// Runs the script. Returns `None` if a tool is missing.
    fn run(&self) -> Option<Report> {
        let unshare = unshare_network()?;
        tool("parallel")?;
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(unshare);
        if self.way == "ssh" {
            command.env("SSHD", tool("sshd")?);
        }
        let namespaces = ["-n", "-m", "-p", "-f", "--kill-child", "--mount-proc"];
        command.args(namespaces).args(["bash", "-c", BRIDGE]).arg(resound().get_program());
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/many-hosts.sh"));
        command.arg(folder.path()).arg(self.way).args(self.hosts);
        command.args(["--", "udp://10.8.0.5:7007", "-c8", "-r400", "-t", self.duration]);
        command.args(["--warmup=100ms", "--timeout=50s", "--spin=0"]);
        command.env("LEAD", self.lead).envs(self.fault);
        let ended = run(command);
        let document = serde_json::from_slice(&ended.stdout).expect(&ended.stderr);
        let server_log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        Some(Report { code: ended.code(), document, stderr: ended.stderr, server_log })
    }
}

/// Runs a load, later on a machine that is too busy to start the parts soon, and checks its report.
fn check_load(way: &'static str, hosts: &'static [&'static str]) {
    for lead in ["3", "10", "40"] {
        let load = Load { way, hosts, lead, duration: "1s", fault: None };
        let Some(Report { code, document, stderr, server_log }) = load.run() else { return };
        if code == 1 && stderr.contains("too late") {
            continue;
        }
        assert_eq!(code, 0, "{stderr}");
        check_bench_document(&document);
        let count = |pointer: &str| document.pointer(pointer).and_then(Value::as_u64).unwrap();
        let counters = Counters::last_of(&server_log);
        let sent = count("/messages/sent") + count("/warmup_messages/sent");
        assert_eq!(counters.get("udp_messages_in"), sent);
        let received = count("/messages/received") + count("/warmup_messages/received");
        assert_eq!(counters.get("udp_messages_out"), received);
        let parts = document["parts"].as_array().unwrap();
        assert_eq!(parts.len(), hosts.len());
        let sum: f64 = parts.iter().map(|part| part["rate"]["achieved"].as_f64().unwrap()).sum();
        let achieved = document["rate"]["achieved"].as_f64().unwrap();
        assert!((achieved - sum).abs() < 1e-6, "{achieved} {sum}");
        assert_eq!(count("/connections"), 8);
        return;
    }
    panic!("40 s were too few to start the parts");
}

/// case B17
#[test]
fn four_hosts_give_one_report_that_agrees_with_the_server_to_the_message() {
    check_load("netns", &["h1", "h2", "h3", "h4"]);
}

/// case B17
#[test]
fn two_hosts_reached_by_ssh_give_one_report_that_agrees_with_the_server_to_the_message() {
    check_load("ssh", &["h1", "h2"]);
}

/// Asserts that the load fails, and that its messages name the part and say why.
#[track_caller]
fn check_failure(load: &Load, expected: &[&str]) {
    let Some(Report { code, document, stderr, .. }) = load.run() else { return };
    assert_eq!(code, 1, "{stderr}");
    // Partial if the other part is complete.
    assert!(document["status"] == "partial" || document["status"] == "error", "{document:#}");
    for words in expected {
        assert!(stderr.contains(words), "{stderr:?} lacks {words:?}");
    }
}

/// case B17
#[test]
fn a_host_that_cannot_be_reached_is_named_and_the_exit_code_is_1() {
    let load = Load { way: "netns", hosts: &["h1", "h9"], lead: "3", duration: "1s", fault: None };
    let expected = ["part 2/2 on h9 failed", "part-2.json: it is not a JSON document"];
    check_failure(&load, &expected);
}

/// case B17
#[test]
fn a_part_that_dies_on_a_host_of_ssh_is_named_and_the_exit_code_is_1() {
    let fault = Some(("KILL", "1"));
    let load = Load { way: "ssh", hosts: &["h1", "h2"], lead: "10", duration: "8s", fault };
    let expected = ["part 2/2 on h2 failed with code", "part-2.json: it is not a JSON document"];
    check_failure(&load, &expected);
}

/// case B17
#[test]
fn a_part_that_starts_late_on_a_host_of_ssh_is_named_and_the_exit_code_is_1() {
    let fault = Some(("LATE", "11"));
    let load = Load { way: "ssh", hosts: &["h1", "h2"], lead: "10", duration: "1s", fault };
    let expected = ["part 2/2 on h2 failed with code 2", "part-2.json): --start-at", "too late"];
    check_failure(&load, &expected);
}
