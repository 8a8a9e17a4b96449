"""Who works at what: held with flock or, where the file system refuses that, by a file of its own.

The kernel lets go of a flock when its holder dies, however that happens. A network file system may
know none: there `<key>.held`, created exclusively, says who has a cell. It outlives a holder that
is killed, until somebody is told to take it over (`--take-over`). Where two processes come to hold
one cell after all, both measure it and the first commit stands.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from finetrap.errors import StoreError

_REFUSED = {
    getattr(errno, name)
    for name in ("ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EBADF")
    if hasattr(errno, name)
}
"""What a file system says that has no such locks; EBADF, that it has none of folders (NFS)."""
_HELD = ".held"
_STARTED = 19
"""Place of a process's start among the fields of /proc/PID/stat that follow its name."""


class Holder(NamedTuple):
    """The process that holds a lock, as it wrote; None for what cannot be read."""

    host: str | None
    pid: int | None
    started: int | None
    """When the process began, in the kernel's ticks: tells it from a later one of its number."""
    since: float
    """When it took the lock, in seconds since 1970."""
    by_file: bool
    """Whether a file says so, which outlives its process."""


@contextmanager
def hold(place: Path, take_over: float | None = None) -> Iterator[bool]:
    """Hold a lock; yields False if another holder has it.

    `take_over` is the time before which a lock file must have been made to be taken from whoever
    made it; one of a process that runs on this machine never is. Raises OSError, StoreError.
    """
    handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        mine = flock(handle, place)
        if mine is None:
            with _held_by_file(place.with_name(place.name + _HELD), take_over) as taken:
                yield taken
            return
        if mine:
            with suppress(OSError):  # whoever reads it learns less
                os.ftruncate(handle, 0)
                os.write(handle, _myself())
        yield mine
    finally:
        os.close(handle)


def flock(handle: int, place: Path) -> bool | None:
    """Lock an open file or folder; False if another has it, None if the file system refuses."""
    import fcntl  # not on Windows, where a copied folder can still be judged

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _REFUSED:
            return None
        raise StoreError(
            f"{place} cannot be locked ({error}): keep the runs folder on a local file system"
        ) from error
    return True


def holder_of(place: Path) -> Holder | None:
    """Return who holds a lock, or held it last; None if that was never written."""
    for path, by_file in ((place.with_name(place.name + _HELD), True), (place, False)):
        with suppress(OSError):
            since = path.stat().st_mtime
            return _told(path.read_bytes(), since, by_file)
    return None


def _told(data: bytes, since: float, by_file: bool) -> Holder:
    """Read what a holder wrote; a file that is still empty was made just now."""
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        told = json.loads(data)
        host, pid, started = told["host"], told["pid"], told["started"]
        if isinstance(host, str) and isinstance(pid, int) and isinstance(started, int | None):
            return Holder(host, pid, started, float(told["since"]), by_file)
    return Holder(None, None, None, since, by_file)


def _myself() -> bytes:
    pid = os.getpid()
    told = {"host": platform.node(), "pid": pid, "started": _started(pid), "since": time.time()}
    return json.dumps(told).encode()


def _started(pid: int) -> int | None:
    """Return when a process of this machine began, None where that cannot be told."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[_STARTED])
    return None


@contextmanager
def _held_by_file(place: Path, take_over: float | None) -> Iterator[bool]:
    me = _myself()
    try:
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        mine = _may_take(place, take_over) and _taken(place, me)
    else:
        mine = True
        try:
            os.write(handle, me)
        except OSError:
            place.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
    try:
        yield mine
    finally:
        with suppress(OSError):  # the folder has gone, or another has taken it over
            if mine and place.read_bytes() == me:
                place.unlink()


def _may_take(place: Path, take_over: float | None) -> bool:
    holder = holder_of(place.with_name(place.name.removesuffix(_HELD)))
    if take_over is None or holder is None or holder.since >= take_over:
        return False
    return holder.pid is None or holder.host != platform.node() or not _is_running(holder)


def _is_running(holder: Holder) -> bool:
    """Whether a holder on this machine lives, and is not another process of its number."""
    try:
        os.kill(holder.pid or 0, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return holder.started is None or _started(holder.pid or 0) in (None, holder.started)


def _taken(place: Path, me: bytes) -> bool:
    """Put our own file in a stale one's place; of two that do so, the later has it."""
    draft = place.with_name(f".{secrets.token_hex(6)}")
    draft.write_bytes(me)
    draft.replace(place)
    return place.read_bytes() == me
