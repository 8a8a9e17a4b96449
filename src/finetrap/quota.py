"""How much memory the system lets this process have, and how often it has killed for more.

A container's limits stand in control groups, of version 2 or 1 or both; a limit binds every group
below it. `ulimit -v` binds one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")


class _Version(NamedTuple):
    """The files of one version of control groups."""

    mounts: tuple[str, ...]
    limit: str
    used: str
    files: str
    """Line of memory.stat with what of it are copies of files that can be dropped."""
    kills: str


_VERSIONS = {
    "": _Version(("", "unified"), "memory.max", "memory.current", "inactive_file", "memory.events"),
    "memory": _Version(
        ("memory",),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
        "memory.oom_control",
    ),
}
"""By the controllers that /proc/self/cgroup names."""


def memory_total(root: Path = ROOT) -> int:
    """Return the bytes that this process may use in all."""
    return min([_machine("SC_PHYS_PAGES"), *(limit for limit, _ in _memory_limits(root))])


def memory_free(root: Path = ROOT) -> int:
    """Return the bytes that are free now, and left of every limit."""
    available = _number_after(root / "proc/meminfo", "MemAvailable:")
    free = _machine("SC_AVPHYS_PAGES") if available is None else available * 1024
    return max(0, min([free, *(limit - used for limit, used in _memory_limits(root))]))


def own_limit() -> int | None:
    """Return the bytes that this process alone is limited to (`ulimit -v`), None without limit."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def kernel_kills(root: Path = ROOT) -> int:
    """Return how many processes of this one's group the kernel has killed for their memory.

    Where groups do not tell, those of the whole machine.
    """
    for version, folder in _own_groups(root):
        if (count := _number_after(folder / version.kills, "oom_kill")) is not None:
            return count
    return _number_after(root / "proc/vmstat", "oom_kill") or 0


def resident() -> int:
    """Return the bytes that this process holds, zero where the system does not tell."""
    return (_number_after(ROOT / "proc/self/status", "VmRSS:") or 0) * 1024


def _machine(pages: str) -> int:
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Yield each limit with what is used of it, in bytes."""
    for version, folder in _own_groups(root):
        limit, used = _whole_number(folder / version.limit), _whole_number(folder / version.used)
        if limit is not None and used is not None:
            yield limit, used - (_number_after(folder / "memory.stat", version.files) or 0)
    if (limit := own_limit()) is not None:
        yield limit, (_number_after(root / "proc/self/status", "VmSize:") or 0) * 1024


def _own_groups(root: Path) -> Iterator[tuple[_Version, Path]]:
    """Yield the folders of this process's groups, from its own upwards."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        version = _VERSIONS.get(controllers)
        for mount in version.mounts if version else ():
            top = root / "sys/fs/cgroup" / mount
            inside = Path(path.lstrip("/"))
            for folder in (inside, *inside.parents) if inside.parts else (inside,):
                if version and (top / folder).is_dir():
                    yield version, top / folder


def _whole_number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _number_after(path: Path, name: str) -> int | None:
    """Return the number on a line that begins with a name."""
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            return int(words[1])
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
