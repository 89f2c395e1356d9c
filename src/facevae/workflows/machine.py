"""What the machine lends to this process: cores and memory. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # A container or a scheduler may have lent only some.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> tuple[int | None, int | None]:
    """Return all memory and what of it new programs can have, in bytes, where the operating system tells."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None, None
    try:
        # Not SC_AVPHYS_PAGES: what caches files counts as used there, and is given up for whoever asks.
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return total, None
    lent = _lent_by_container(_CGROUP)
    available = 1024 * kilobytes
    return total, available if lent is None else min(available, lent)


def _lent_by_container(folder: Path) -> int | None:
    """Return the bytes that a container's limit still leaves, None without a limit."""
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        # What caches files counts as used here too.
        return max(0, limit - used + int(statistics.get("inactive_file", 0)) + int(statistics.get("active_file", 0)))
    except (OSError, ValueError):  # no container, an older kernel, or the word "max"
        return None
