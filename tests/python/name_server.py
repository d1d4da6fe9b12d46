"""Runs a command where names cannot be looked up.

name_server.py silent|absent COMMAND...: to be run in network and mount namespaces of its own. The
only name server is one that takes questions and never answers, or an address where none is. The
resolver's own limits are far beyond those of any test.
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
    # The command inherits it; no process reads it.
    os.set_inheritable(server.fileno(), True)
os.execv(command[0], command)
