"""Makes a thread of another process execute system calls by ptrace(2), on x86_64.

make_calls.py PID TID < CALLS

CALLS is a JSON array of arrays: a call's number and its arguments. An argument is a number, a text
(passed as the address of its bytes and a zero byte), or {"result": N} for the result of call N.
Prints the results as a JSON array; failures are negative (-EPERM). Exits with 77 if the system
forbids tracing the process, and with 78 if the thread has ended.
"""

import ctypes
import json
import os
import sys
import time

ATTACH, DETACH, SINGLESTEP, GETREGS, SETREGS = 16, 17, 9, 12, 13
WALL = 0x40000000
NOT_PERMITTED, GONE = 77, 78
SYSCALL = b"\x0f\x05"
# Below the thread's stack, and below the area that signal handlers may use.
TEXTS_BELOW_STACK = 8192

NAMES = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss"
NAMES += " fs_base gs_base ds es fs gs"
ARGUMENTS = ["rdi", "rsi", "rdx", "r10", "r8", "r9"]


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in NAMES.split()]


libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
pid, tid = int(sys.argv[1]), int(sys.argv[2])


def trace(request, data=None):
    if libc.ptrace(request, tid, None, data) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def wait_for_stop():
    _, status = os.waitpid(tid, WALL)
    assert os.WIFSTOPPED(status), f"the thread ended: {status}"


def registers():
    found = Registers()
    trace(GETREGS, ctypes.addressof(found))
    return found


def stop_in_a_call(memory):
    """Stops the thread just after a system call, so that it can execute another one."""
    deadline = time.monotonic() + 30
    while True:
        try:
            trace(ATTACH)
        except PermissionError:
            sys.exit(NOT_PERMITTED)
        except ProcessLookupError:
            sys.exit(GONE)
        wait_for_stop()
        found = registers()
        if os.pread(memory, 2, found.rip - 2) == SYSCALL:
            return found
        trace(DETACH)
        assert time.monotonic() < deadline, "the thread never makes a system call"
        time.sleep(0.01)


def make(call, before, results, memory):
    now = Registers.from_buffer_copy(before)
    # This keeps the kernel from restarting an interrupted call.
    now.orig_rax = 2**64 - 1
    now.rip -= 2
    now.rax = call[0]
    texts_at = before.rsp - TEXTS_BELOW_STACK
    for register, argument in zip(ARGUMENTS, call[1:]):
        if isinstance(argument, dict):
            argument = results[argument["result"]]
        elif isinstance(argument, str):
            text = argument.encode("latin-1") + b"\0"
            os.pwrite(memory, text, texts_at)
            argument, texts_at = texts_at, texts_at + len(text)
        setattr(now, register, argument % 2**64)
    trace(SETREGS, ctypes.addressof(now))
    trace(SINGLESTEP)
    wait_for_stop()
    return ctypes.c_int64(registers().rax).value


calls = json.load(sys.stdin)
memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
before = stop_in_a_call(memory)
results = []
for call in calls:
    results.append(make(call, before, results, memory))
trace(SETREGS, ctypes.addressof(before))
trace(DETACH)
print(json.dumps(results))
