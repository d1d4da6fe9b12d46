"""Makes the kernel note when packets arrive, prints "ready" once it does, and goes on until it is killed.

The kernel begins a moment after the first socket has asked for it.
"""

import signal
import socket

SO_TIMESTAMPING = 37
RX_SOFTWARE, SOFTWARE = 1 << 3, 1 << 4

stamped = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
stamped.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, RX_SOFTWARE | SOFTWARE)
stamped.bind(("127.0.0.1", 0))
while True:
    stamped.sendto(b"?", stamped.getsockname())
    _, controls, _, _ = stamped.recvmsg(16, 256)
    if any(kind == SO_TIMESTAMPING for _, kind, _ in controls):
        break
print("ready", flush=True)
signal.pause()
