"""Runs a program for which the kernel refuses one socket option, as a kernel without it does:
refuse_option.py OPTION ERRNO PROGRAM [ARGUMENT]... OPTION is the number of an option of SOL_SOCKET."""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

SETSOCKOPT = {"x86_64": 54, "aarch64": 208}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
# Places in `struct seccomp_data`: the number of the call, and the low half of an argument.
NUMBER, ARGUMENTS = 0, 16
LEVEL, NAME = ARGUMENTS + 8, ARGUMENTS + 16

option, error = int(sys.argv[1]), getattr(errno, sys.argv[2])
steps = [
    (LOAD, 0, 0, NUMBER),
    (JUMP_IF_EQUAL, 0, 5, SETSOCKOPT[platform.machine()]),
    (LOAD, 0, 0, LEVEL),
    (JUMP_IF_EQUAL, 0, 3, socket.SOL_SOCKET),
    (LOAD, 0, 0, NAME),
    (JUMP_IF_EQUAL, 0, 1, option),
    (RETURN, 0, 0, REFUSE | error),
    (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(program), 0, 0):
    sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[3], sys.argv[3:])
