"""Runs a command where names cannot be looked up.

name_server.py silent|absent COMMAND...: must run in its own network and mount namespaces. The
only name server receives queries and never answers, or its address has no server. The resolver's
own limits are much longer than those of any test.
"""

import os
import socket
import subprocess
import sys
import tempfile

ADDRESS = "127.0.0.153"

behaviour, *command = sys.argv[1:]
subprocess.check_call(["ip", "link", "set", "lo", "up"])
with tempfile.NamedTemporaryFile("w", suffix=".conf") as settings:
    patience = "options timeout:30 attempts:5\n" if behaviour == "silent" else ""
    settings.write(f"nameserver {ADDRESS}\n{patience}")
    settings.flush()
    subprocess.check_call(["mount", "--bind", settings.name, "/etc/resolv.conf"])
if behaviour == "silent":
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((ADDRESS, 53))
    # The command inherits the socket, and no process reads it.
    os.set_inheritable(server.fileno(), True)
os.execv(command[0], command)
