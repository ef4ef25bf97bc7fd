"""Whether what a run wrote would be there after a loss of power, by the order of its changes of the disk.

A kill does not show it: what a process has written is seen by the next one, on the disk or not. The rules, of POSIX and
of every file system that keeps to it: before a file or folder takes its final name its bytes, and the names in it, are
synced; before something else is removed or moved, and before the end, so is the folder that holds the new name.
"""

from collections.abc import Callable, Sequence
from os.path import dirname

from killing import Event


def broken(events: Sequence[Event], counts: Callable[[str], bool]) -> list[str]:
    """Say which of the rules are broken. counts: whether a path is an output; others need not be durable."""
    disk = _Disk(counts)
    for event in events:
        getattr(disk, "_" + event.kind, disk.other)(*event.paths)
    disk.end()
    return disk.said


class _Disk:
    """What is not on the disk yet: files by their bytes, folders by the names in them."""

    def __init__(self, counts: Callable[[str], bool]) -> None:
        self.said: list[str] = []
        self._counts = counts
        self._dirty: set[str] = set()
        self._folders: set[str] = set()
        self._named: dict[str, str] = {}  # a folder in which something took its final name -> what

    def _open(self, path: str) -> None:
        self._dirty |= {path, dirname(path)}
        self._folders.add(dirname(path))

    def _write(self, path: str) -> None:
        self._dirty.add(path)

    def _fsync(self, path: str) -> None:
        self._dirty.discard(path)
        self._named.pop(path, None)

    def _mkdir(self, path: str) -> None:
        self._dirty.add(dirname(path))
        self._folders |= {path, dirname(path)}

    def _link(self, path: str, other: str) -> None:
        self._dirty.add(dirname(other))

    def _rename(self, path: str, other: str) -> None:
        self.removing(f"{other} takes its name")
        if self._counts(other):
            self.said += [f"{other} is named before {left} is synced" for left in sorted(self._under(path))]
            self._named[dirname(other)] = other
        moved = {left: other + left.removeprefix(path) for left in self._under(path)}
        self._dirty = {moved.get(left, left) for left in self._dirty}

    _replace = _rename

    def _exchange(self, path: str, other: str) -> None:
        self._rename(path, other)

    def _unlink(self, path: str) -> None:
        if self._counts(path) or any(path.startswith(f"{folder}/") for folder in self._named):
            self.removing(f"{path} is removed")
        self._dirty.discard(path)

    _remove = _rmdir = _unlink

    def other(self, *paths: str) -> None:
        raise ValueError(f"an event of no known kind: {paths}")

    def removing(self, what: str) -> None:
        """Something goes that may be missed if what replaced it is not on the disk."""
        self.said += [f"{what} before {folder} is synced, which names {name}" for folder, name in self._named.items()]
        self._named = {}

    def end(self) -> None:
        """What is not on the disk now may never be."""
        self.removing("the end")
        # A folder may still hold the names of claims that are gone.
        self.said += [f"{path} is not synced" for path in sorted(self._dirty - self._folders) if self._counts(path)]

    def _under(self, path: str) -> set[str]:
        return {left for left in self._dirty if left == path or left.startswith(f"{path}/")}
