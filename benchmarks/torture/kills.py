"""Kills at random moments, and at chosen system calls."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import struct
from collections.abc import Callable

from benchmarks.torture.scene import Kept, Scene, killed_after
from benchmarks.torture.table import Count


def at_random_moments(scene: Scene, kills: int, draw: random.Random, what: str) -> Count:
    """Kill a study again and again until it is whole, and then the next."""
    count = Count(f"process killed, {what}", "SIGKILL after a time drawn at random")
    while count.tried < kills:
        place = scene.place()
        while True:
            kept = Kept(place)
            cut = killed_after(draw.uniform(0, scene.seconds)) if count.tried < kills else None
            ended = scene.attempt(place, cut)
            scene.held(place, count, kept)
            if ended:
                break
            count.tried += 1
        scene.ended(place, count)
        shutil.rmtree(place)
    return count


def at_system_calls(
    scene: Scene, kills: int, draw: random.Random, what: str = "a file operation"
) -> Count:
    """Kill a study before or after a system call that changes files; half of them once more."""
    count = Count(f"process killed in {what}", "SIGKILL at a system call (ptrace)")
    place = scene.place()
    calls = traced(lambda: scene._go_on(place, None), None)
    shutil.rmtree(place)
    for number in sorted(draw.sample(range(1, calls + 1), min(kills, calls))):
        place = scene.place()
        at, again = number, draw.random() < 0.5
        while at:
            kept = Kept(place)
            count.tried += traced(lambda: scene._go_on(place, None), at) >= at  # noqa: B023
            scene.held(place, count, kept)
            at, again = (draw.randint(1, 60), False) if again else (0, False)
        kept = Kept(place)
        scene.attempt(place)
        scene.held(place, count, kept)
        scene.ended(place, count)
        shutil.rmtree(place)
    return count


_TRACE_ME, _SYSCALL, _SET_OPTIONS, _SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_TELL_CALLS, _KILL_WITH_US = 1, 0x100000
_STOPPED_AT_CALL = signal.SIGTRAP | 0x80
_INFO = struct.Struct("<BxxxIQQ7Q")
"""ptrace(2): struct ptrace_syscall_info at an entry."""
_X86_64 = 0xC000003E
_WRITES = {
    **dict.fromkeys((1, 18, 20), "write"),
    **dict.fromkeys((74, 75), "sync"),
    **dict.fromkeys((82, 264, 316), "rename"),
    **dict.fromkeys((84, 87, 263), "remove"),
    **dict.fromkeys((83, 258), "mkdir"),
    **dict.fromkeys((73, 76, 77), "lock or truncate"),
    257: "open",
}
"""Numbers of system calls on x86-64."""
_OPENED_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def can_trace() -> bool:
    """Say whether system calls can be told here."""
    return os.uname().machine == "x86_64" and os.uname().sysname == "Linux"


def traced(work: Callable[[], None], kill_at: int | None) -> int:
    """Do work in a fork, killed at the so-and-so-many-th moment before or after a system call that
    changes files; return how many such moments there were."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.restype = ctypes.c_long
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    child = os.fork()
    if not child:
        ptrace(_TRACE_ME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
        os._exit(0)
    os.waitpid(child, 0)
    ptrace(_SET_OPTIONS, child, None, _TELL_CALLS | _KILL_WITH_US)
    told = ctypes.create_string_buffer(_INFO.size)
    moments, inside, pass_on = 0, False, 0
    while True:
        ptrace(_SYSCALL, child, None, pass_on)
        _, code = os.waitpid(child, 0)
        if not os.WIFSTOPPED(code):
            if os.WIFEXITED(code) and os.WEXITSTATUS(code):
                raise SystemExit(f"the traced study ended with {os.WEXITSTATUS(code)}")
            return moments
        stop, pass_on = os.WSTOPSIG(code), 0
        if stop != _STOPPED_AT_CALL:
            pass_on = 0 if stop == signal.SIGTRAP else stop
            continue
        if inside:
            inside = False
        else:
            ptrace(_SYSCALL_INFO, child, _INFO.size, ctypes.addressof(told))
            entry, machine, _, _, number, first, _, flags, *_ = _INFO.unpack(told.raw)
            if entry != 1 or machine != _X86_64 or not _changes_files(number, first, flags):
                continue
            inside = True
        moments += 1
        if moments == kill_at:
            os.kill(child, signal.SIGKILL)


def _changes_files(number: int, first: int, flags: int) -> bool:
    kind = _WRITES.get(number)
    if kind == "open":
        return bool(flags & _OPENED_TO_WRITE)
    return kind is not None and not (kind == "write" and first in (1, 2))
