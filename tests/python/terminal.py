"""Runs a command on a terminal of its own.

terminal.py COLUMNS ROWS COMMAND...: the command's stdin, stdout and stderr are a terminal of that
size. What it shows is printed as it comes, and the exit code is that of the command.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios

# The command is killed when it shows nothing for so long.
WAIT_MAX_S = 60

columns, rows = int(sys.argv[1]), int(sys.argv[2])
near, far = pty.openpty()
# Before the command starts, which asks for it at once.
fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
child = os.fork()
if child == 0:
    os.close(near)
    os.setsid()
    fcntl.ioctl(far, termios.TIOCSCTTY, 0)
    for stream in range(3):
        os.dup2(far, stream)
    os.execv(sys.argv[3], sys.argv[3:])
os.close(far)
while select.select([near], [], [], WAIT_MAX_S)[0]:
    try:
        shown = os.read(near, 65536)
    except OSError:
        # Linux reports the end of a terminal's last user as an error.
        break
    if not shown:
        break
    sys.stdout.buffer.write(shown)
    sys.stdout.buffer.flush()
else:
    os.kill(child, 9)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
