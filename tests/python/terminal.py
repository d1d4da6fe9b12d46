"""Runs a command on a new terminal.

terminal.py COLUMNS ROWS COMMAND...: the command's stdin, stdout and stderr are a terminal of that
size. Prints its output as it comes, and exits with the command's exit code.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios

# The command is killed if it prints nothing for this time.
WAIT_MAX_S = 60

columns, rows = int(sys.argv[1]), int(sys.argv[2])
near, far = pty.openpty()
# Set before the command starts, because the command reads it at once.
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
        # Linux reports an error when the last process closes the terminal.
        break
    if not shown:
        break
    sys.stdout.buffer.write(shown)
    sys.stdout.buffer.flush()
else:
    os.kill(child, 9)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
