"""Runs a static program in an otherwise empty root, as an unprivileged user, and talks to it.

in_empty_root.py PROGRAM [FLAG]...

FLAGs are those of `resound serve`.

The root has no /dev, /proc, /etc and no libraries, like that of a container made from scratch. Root
enters it by chroot(1); any other user also needs a user namespace (unshare(1)).
"""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

WAIT_MAX_S = 30
USER_ID = 65534


def enter(root):
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if os.geteuid() == 0:
        return [chroot, f"--userspec={USER_ID}:{USER_ID}", root]
    return [shutil.which("unshare"), "--map-root-user", chroot, root]


def start(root, *arguments):
    command = [*enter(root), "/resound", *arguments]
    return subprocess.Popen(
        command, env={}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def listening(server, scheme):
    line = server.stdout.readline().decode()
    prefix = f"listening {scheme}://"
    if not line.startswith(prefix):
        # Its log ends when the server ends.
        server.kill()
        raise AssertionError((line, server.stderr.read()))
    host, _, port = line.removeprefix(prefix).strip().rpartition(":")
    return host.strip("[]"), int(port)


def connected(place, kind=socket.SOCK_STREAM):
    client = socket.socket(socket.AF_INET, kind)
    client.settimeout(WAIT_MAX_S)
    client.connect(place)
    return client


def ask(place, kind):
    with connected(place, kind) as client:
        for message in (b"ping", bytes(range(256)) * 8):
            client.sendall(message)
            answer = b""
            while len(answer) < len(message):
                answer += client.recv(65536)
            assert answer == message


def as_server_user(action, *arguments):
    """Runs an action in a process of the server's user, which may change the server's limits."""
    child = os.fork()
    if child == 0:
        failed = True
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(USER_ID, USER_ID, USER_ID)
                os.setresuid(USER_ID, USER_ID, USER_ID)
            action(*arguments)
            failed = False
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(failed)
    assert os.waitpid(child, 0)[1] == 0, action


def shed(server, place):
    """Checks that without a free descriptor the server closes each new connection at once. It has a
    spare descriptor for that, which it must get back each time."""
    numbers = [int(name) for name in os.listdir(f"/proc/{server.pid}/fd")]
    limit = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    # Linux gives out the lowest free number, and none from the limit on.
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (max(numbers) + 1, limit[1]))
    free = max(numbers) + 1 - len(numbers)
    held = [connected(place) for _ in range(free)]
    for _ in range(3):
        with connected(place) as client:
            try:
                assert client.recv(1) == b""
            except ConnectionResetError:
                pass
    for client in held:
        client.close()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limit)


def main(program, *flags):
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        shutil.copy(program, os.path.join(root, "resound"))
        endpoints = ("tcp://127.0.0.1:0", "udp://127.0.0.1:0", "tcp://localhost:0")
        server = start(root, "serve", *flags, *endpoints)
        try:
            tcp, udp = listening(server, "tcp"), listening(server, "udp")
            name, port = listening(server, "tcp")
            assert name == "localhost", name
            ask(tcp, socket.SOCK_STREAM)
            ask(udp, socket.SOCK_DGRAM)
            ask(("127.0.0.1", port), socket.SOCK_STREAM)
            # The health check of the container.
            ping = start(root, "ping", f"tcp://127.0.0.1:{tcp[1]}", "-c", "1", "-q")
            output = ping.communicate(timeout=WAIT_MAX_S)
            assert ping.returncode == 0, output
            as_server_user(shed, server, tcp)
            ask(tcp, socket.SOCK_STREAM)
            with open(f"/proc/{server.pid}/status", encoding="ascii") as status:
                print("".join(line for line in status if line.startswith("Uid")), end="")
            server.send_signal(signal.SIGTERM)
            _, log = server.communicate(timeout=WAIT_MAX_S)
        finally:
            server.kill()
            server.wait()
        log = log.decode()
        assert server.returncode == 0, (server.returncode, log)
        assert " tcp_shed=" in log or " shed=" in log, log
        given = " ".join(["serve", *flags])
        print(f"{given} in an empty root: shed, ended by SIGTERM with {server.returncode}")


main(*sys.argv[1:])
