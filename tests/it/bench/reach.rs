//! `bench` reaches every server that `send` and `ping` reach, and never itself.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::geteuid;

use crate::bench::{count, good_json};
use crate::support::{Daemon, resound, run, unshare_network};

#[test]
fn an_ipv4_mapped_ipv6_address_is_reached() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    for endpoint in &daemon.endpoints {
        let mapped = endpoint.replace("127.0.0.1", "[::ffff:127.0.0.1]");
        let document = good_json(&[&mapped, "-n100", "-c2", "--warmup=0", "--timeout=50s"]);
        assert_eq!(count(&document, "/messages/received"), 100, "{document:#}");
    }
}

/// A shell script for a host where `localhost` has two addresses, and no server uses the first.
const TWO_ADDRESSES: &str = r#"
set -eu
ip link set lo up
printf '::1 localhost\n127.0.0.1 localhost\n' > "$TMP/hosts"
mount --bind "$TMP/hosts" /etc/hosts
mkfifo "$TMP/lines"
"$0" serve udp://127.0.0.1:7007 tcp://127.0.0.1:7007 > "$TMP/lines" 2>/dev/null &
server=$!
trap 'kill $server' EXIT
read -r _ < "$TMP/lines"
for transport in tcp udp; do
    "$0" bench "$transport://localhost:7007" -n 100 -c 2 --warmup 0 --timeout 50s >&2
done
"#;

#[test]
fn a_name_with_several_addresses_means_the_first_with_a_server() {
    let Some(unshare) = unshare_network() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(unshare);
    command.env("TMP", folder.path()).args(["-n", "-m", "sh", "-c", TWO_ADDRESSES]);
    let ended = run({
        command.arg(resound().get_program());
        command
    });
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("100 received").count(), 2, "{}", ended.stderr);
}

/// A shell script for a host with eleven ephemeral ports and no server. Each client connects so
/// often that the kernel gives it the target's port several times.
const NO_SERVER: &str = r#"
set -u
ip link set lo up
echo 40000 40010 > /proc/sys/net/ipv4/ip_local_port_range
for host in 127.0.0.1 '[::1]'; do
    for transport in tcp udp; do
        to="$transport://$host:40004"
        "$0" ping -q -c 30 -i 2ms -W 50ms "$to" | grep -o '[0-9]* received'
        "$0" bench "$to" -c 8 -t 100ms --warmup 0 --timeout 50ms -J 2>/dev/null |
            grep '"received"' | tr -dc '0-9\n' | sort -u
        for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            "$0" send --timeout 50ms "$to" hello 2>/dev/null
        done
    done
    "$0" bench --mode connect "tcp://$host:40004" -c 8 -t 300ms --warmup 0 --timeout 50ms -J \
        2>/dev/null | grep '"received"' | tr -dc '0-9\n' | sort -u
done
"#;

#[test]
fn no_client_takes_itself_for_an_absent_server() {
    let Some(unshare) = unshare_network() else { return };
    let mut command = Command::new(unshare);
    command.args(["-n", "bash", "-c", NO_SERVER]).arg(resound().get_program());
    let ended = run(command);
    // For each host: `ping` and `bench` over TCP, both over UDP, and `bench --mode connect`.
    let of_host = ["0 received", "0", "0 received", "0", "0"];
    let lines: Vec<String> = ended.stdout_text().lines().map(str::to_owned).collect();
    assert_eq!(lines, of_host.repeat(2), "{}", ended.stderr);
}

/// A server of another user must be able to reach and write to the client's socket files, of
/// `bench` as of `send`.
#[test]
fn a_unix_datagram_server_of_another_user_is_reached() {
    const OTHER_USER: u32 = 65_534;
    if !geteuid().is_root() {
        crate::support::skip("only root may start a server of another user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).unwrap();
    // The other user may lack access to the folder of the build.
    let program = folder.path().join("resound");
    std::fs::copy(resound().get_program(), &program).unwrap();
    let endpoint = format!("unixgram:{}", folder.path().join("echo").display());
    let mut command = Command::new(program);
    command.uid(OTHER_USER).gid(OTHER_USER).args(["serve", &endpoint]);
    let _daemon = Daemon::start_command(command);
    let document = good_json(&[&endpoint, "-n100", "-c2", "--warmup=0", "--timeout=50s"]);
    assert_eq!(count(&document, "/messages/received"), 100, "{document:#}");
}
