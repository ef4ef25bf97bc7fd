"""How much memory a run takes at its highest: all of its processes together, seen from outside.

    meter = Meter()
    ran = forks.fork([...], folder, meanwhile=meter.watch)
    meter.peak_mb

A page that several processes share counts once (PSS), so that forks of one process are not counted as copies of it.
"""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

_EVERY_S = 0.02


class Meter:
    """Looks at a process, its group and its descendants, in a thread, until the process is gone."""

    def __init__(self) -> None:
        self._peak_kb = 0
        self._most_processes = 0
        self._thread: threading.Thread | None = None

    def watch(self, leader: int) -> None:
        """Begin; returns at once."""
        self._thread = threading.Thread(target=self._look, args=(leader,), daemon=True)
        self._thread.start()

    @property
    def peak_mb(self) -> float:
        """The most that all of them held at one moment, MB of 2**20 bytes; waits until the process is gone."""
        self._join()
        return self._peak_kb / 1024

    @property
    def processes(self) -> int:
        """How many there were at most."""
        self._join()
        return self._most_processes

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _look(self, leader: int) -> None:
        while members := members_of(leader):
            self._peak_kb = max(self._peak_kb, sum(map(memory_kb, members)))
            self._most_processes = max(self._most_processes, len(members))
            time.sleep(_EVERY_S)


def members_of(leader: int) -> list[int]:
    """A process, those of its group, and all that descend from them; none once it has ended."""
    parents, groups, ended = {}, {}, set()
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with suppress(OSError):
                words = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                pid = int(entry)
                parents[pid], groups[pid] = int(words[1]), int(words[2])
                if words[0] in "ZX":
                    ended.add(pid)
    if leader not in parents or leader in ended:
        return []
    found = {pid for pid, group in groups.items() if group == leader} | {leader}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - ended)


def memory_kb(pid: int) -> int:
    """What a process holds of memory, shared pages divided among those who share them; 0 when it is gone."""
    with suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(text.split("\nPss:")[1].split()[0])
    return 0
