"""Runs a program for which some system calls are missing, as on an older kernel.

without_calls.py NUMBER[,NUMBER] PROGRAM [ARGUMENT]...

A seccomp(2) filter answers ENOSYS. The numbers are those of this machine's architecture.
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
MODE_FILTER = 2
LOAD_NUMBER = struct.pack("HBBI", 0x20, 0, 0, 0)
ENOSYS = struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | 38)
ALLOW = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)

code = LOAD_NUMBER
for number in sys.argv[1].split(","):
    # Continues with the next instruction for this call, and skips it otherwise.
    code += struct.pack("HBBI", 0x15, 0, 1, int(number)) + ENOSYS
code += ALLOW
kept = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(kept))

libc = ctypes.CDLL(None, use_errno=True)
one, zero = ctypes.c_ulong(1), ctypes.c_ulong(0)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) == 0
assert libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(MODE_FILTER), program) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
