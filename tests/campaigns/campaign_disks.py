"""Disks that are full: a small file system in memory, a limit on the size of files, /dev/full.

Each writer first works undisturbed; what it then has on disk says at which sizes a disk is too small for it. On each of
these it must end with 74 (or with the undisturbed result, where it needs less room than it used), name the output and
the bytes in one line, leave nothing unfinished and what was there before as it was; and when there is room again, the
same command must end in the undisturbed result, with what was finished before still used.
"""

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import forks
from smallworld import STEPS, TRAIN, make_world
from trials import Trial

TITLE = "Full disks"
PROMISE = (
    "On a disk that fills up, every writer ends with 74 and a line that names the output and the bytes, earlier "
    "outputs stay whole, and when there is room again the same command ends in the undisturbed result."
)

_PAGE = 4096
_BYTES = re.compile(r"\d+ (bytes needed|bytes written|free|allowed by)")
_UNFINISHED = re.compile(r"\.partial$|\.tmp$|\.lock$|\.parts$")
_DIFFERS = re.compile(r"(^|/)(metrics\.jsonl|README\.md|\.lock|lock|\.filler)$")  # seconds of an epoch are in the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """A command that writes into disk/. older: arguments that made another output there before; then it overwrites."""

    name: str
    args: Sequence[str]
    older: Sequence[str] = ()
    again: Sequence[str] = ()  # what is added to run it again
    cache: bool = False  # disk/ is the user's cache: the command does not need it
    sizes: Sequence[float] = (0.1, 0.5, 0.9)  # of what it takes on the disk


_LOCALIZE = ("localize", "features.h5", "-m", "nearest", "-g", "near.h5", "--offline")
_SCORE = ("score-trajectory", "tracks.geojson", "--truth", "features.h5", "--per-clip", "-f", "json")
WRITERS = (
    Writer(name="extract-frames", args=("extract-frames", "clips", "--count", "6", "-o", "disk/frames"),
           sizes=(0.05, 0.3, 0.6, 0.95)),
    Writer(name="precompute-features", sizes=(0.05, 0.3, 0.6, 0.95),
           args=("precompute-features", "frames", "-e", "gist", "--device", "cpu", "-o", "disk/f.h5")),
    Writer(name="build-gallery grid", args=("build-gallery", "grid", "features.h5", "--spacing-km", "0.2", "-o",
           "disk/g.h5", "--overwrite"), older=("build-gallery", "grid", "features.h5", "-o", "disk/g.h5",
           "--spacing-km", "0.9")),
    Writer(name="build-gallery grid, with keys", args=("build-gallery", "grid", "features.h5", "--spacing-km", "0.3",
           "--model", "models/geoclip", "--device", "cpu", "-o", "disk/k.h5")),
    Writer(name="build-gallery cities, CSV", args=("build-gallery", "cities", "clips.csv", "-o", "disk/c.csv"),
           sizes=(0.1,)),
    Writer(name="build-gallery points, GeoJSON", args=("build-gallery", "points", "features.h5", "-o", "disk/p.geojson",
           "--overwrite"), older=("build-gallery", "points", "features.h5", "--thin-m", "5000", "-o",
           "disk/p.geojson")),
    Writer(name="train", args=("train", "features.h5", *TRAIN, "--epochs", "2", "-o", "disk/m"), sizes=(0.1, 0.4, 0.8)),
    Writer(name="train, over an older model", args=("train", "features.h5", *TRAIN, "--epochs", "1", "-o", "disk/m",
           "--overwrite"), older=("train", "features.h5", *TRAIN, "--seed", "5", "--epochs", "1", "-o", "disk/m"),
           sizes=(0.1, 0.6)),
    Writer(name="localize to a file", args=(*_LOCALIZE, "-o", "disk/t.geojson", "--overwrite"),
           older=(*_LOCALIZE, "-o", "disk/t.geojson", "--top-k", "1")),
    Writer(name="localize to a folder", args=(*_LOCALIZE, "-o", "disk/t/", "-f", "gpx"), sizes=(0.1, 0.5, 0.9)),
    Writer(name="localize --map", args=(*_LOCALIZE, "-o", "t.csv", "--overwrite", "--map", "disk/map.html")),
    Writer(name="localize --report", args=(*_LOCALIZE, "-o", "t2.csv", "--overwrite", "--report", "disk/r.jsonl"),
           sizes=(0.0,)),
    Writer(name="localize, the cache", args=("localize", "features.h5", "--model", "models/geoclip", "-g", "grid.h5",
           "--device", "cpu", "-o", "out.csv", "--overwrite"), cache=True, sizes=(0.0, 0.5)),
    Writer(name="score-trajectory", args=(*_SCORE, "-o", "disk/s.json"), sizes=(0.0,)),
    Writer(name="sample-clips", args=("sample-clips", "features.h5", "--per-city", "features.h5=1", "-o", "disk/l.csv"),
           sizes=(0.0,)),
)  # fmt: skip


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """Small disks, then small limits of a file's size, then streams that take nothing."""
    make_world(scratch, STEPS if share >= 1 else ())
    mounting = _may_mount(scratch / "probe")
    chosen = WRITERS if share >= 1 else [w for w in WRITERS if w.name == "build-gallery cities, CSV"]
    for writer in chosen:
        yield from _of_writer(scratch, writer, mounting, share)
    yield from islice(_streams(scratch), 0 if share >= 1 else 6, None)


def _of_writer(here: Path, writer: Writer, mounting: bool, share: float) -> Iterator[Trial]:
    """An undisturbed run, then one for each size."""
    if mounting:
        with small_disk(here / "disk", 64 * 2**20) as disk:
            _run(here, writer.older)
            before = disk.used()
            whole = _run(here, writer.args, cache=writer.cache)
            expected, taken = tree(here / "disk"), disk.used() - before
    else:
        with folder(here / "disk"):
            _run(here, writer.older)
            whole = _run(here, writer.args, cache=writer.cache)
            expected, taken = tree(here / "disk"), 0
    largest = max((size for _, size in expected.values()), default=0)
    if whole.code != 0:
        yield Trial(writer.name, "undisturbed", False, f"ended with {whole.code}: {whole.stderr[-200:]}")
        return
    sizes = writer.sizes if share >= 1 else writer.sizes[-1:]
    for size in sizes if mounting else ():
        yield _on_small_disk(here, writer, int(taken * size) // _PAGE * _PAGE, expected)
    if not writer.cache:
        for size in sizes[-1:]:
            yield _with_limit(here, writer, max(int(largest * size), 16), expected)


def _on_small_disk(here: Path, writer: Writer, room: int, expected: "Tree") -> Trial:
    """The command on a disk that has `room` bytes left, and again when it has more."""
    with small_disk(here / "disk", 64 * 2**20) as disk:
        _run(here, writer.older)
        before = tree(here / "disk")
        (disk.at / ".filler").write_bytes(bytes(_PAGE))  # a file system of no size would be one without an end
        disk.resize(disk.used() + room)
        full = _run(here, writer.args, cache=writer.cache)
        wrong = _faults(here / "disk", writer, full, before, expected)
        disk.resize(64 * 2**20)
        (disk.at / ".filler").unlink()
        wrong += _faults_of_rerun(here, writer, full, expected)
    return Trial(f"{writer.name}, {room} bytes of room", "small disk", not wrong, "; ".join(wrong))


def _with_limit(here: Path, writer: Writer, limit: int, expected: "Tree") -> Trial:
    """The command where no file may be larger than the limit."""

    read, write = os.pipe()  # for what it says: as a file, that has a limit, too

    def shrink() -> None:
        os.dup2(write, 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    with folder(here / "disk"):
        _run(here, writer.older)
        before = tree(here / "disk")
        full = _run(here, writer.args, before=shrink)
        os.close(write)
        with os.fdopen(read, "rb") as said:
            full = replace(full, stderr=said.read().decode())
        wrong = _faults(here / "disk", writer, full, before, expected)
        wrong += _faults_of_rerun(here, writer, full, expected)
    return Trial(f"{writer.name}, files of {limit} bytes", "limit of a file's size", not wrong, "; ".join(wrong))


def _faults(disk: Path, writer: Writer, full: forks.Ran, before: "Tree", expected: "Tree") -> list[str]:
    """What is wrong with how a run ended on a disk that is too small for it."""
    wrong = []
    now = tree(disk)
    if full.traceback:
        wrong.append("a traceback")
    if writer.cache:
        return wrong + ([f"the cache ended it with {full.code}: {full.stderr[-200:]}"] if full.code != 0 else [])
    if full.code == 0:
        return wrong + ([] if same(now, expected) else ["ended with 0, without the result"])
    if full.code != 74:
        wrong.append(f"ended with {full.code}, not 74: {full.stderr[-300:]}")
    last = (full.stderr.strip().splitlines() or [""])[-1]
    if "disk/" not in last or not _BYTES.search(last):
        wrong.append(f"names no path or no bytes: {last[:300]}")
    if ".partial" in last:
        wrong.append(f"names an unfinished file: {last[:300]}")
    wrong += [f"changed {name}, which was there before" for name in before if now.get(name) != before[name]]
    wrong += [f"left {name}" for name in now if _UNFINISHED.search(name) and "parts/" not in name]
    return wrong


def _faults_of_rerun(here: Path, writer: Writer, full: forks.Ran, expected: "Tree") -> list[str]:
    """What is wrong after the same command, with room. Pictures and parts that were finished keep their times."""
    finished = {path: path.stat().st_mtime_ns for path in (here / "disk").rglob("*.jpg")}
    again = _run(here, writer.args, cache=writer.cache)
    if again.code == 73 and full.code == 0:
        again = _run(here, (*writer.args, "--overwrite"), cache=writer.cache)
    if again.code != 0:
        return [f"with room again it ended with {again.code}: {again.stderr[-300:]}"]
    wrong = [f"made {path.name} again" for path, time in finished.items() if path.stat().st_mtime_ns != time]
    now = tree(here / "disk")
    return wrong if same(now, expected) else [*wrong, f"with room again the result differs: {unlike(now, expected)}"]


def _streams(here: Path) -> Iterator[Trial]:
    """stdout that takes nothing, for each kind of writer to it."""
    for name, args in {
        "localize": _LOCALIZE, "localize, CSV": (*_LOCALIZE, "-f", "csv"), "score-trajectory": _SCORE,
        "build-gallery": ("build-gallery", "points", "features.h5", "-o", "-"),
        "sample-clips": ("sample-clips", "features.h5", "--per-city", "features.h5=1", "-o", "-"),
        "localize --report -": (*_LOCALIZE, "-o", "t3.csv", "--overwrite", "--report", "-"), "methods": ("methods",),
        "--version": ("--version",), "--help": ("localize", "--help"),
    }.items():  # fmt: skip
        ran = _run(here, args, before=lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 1))
        last = (ran.stderr.strip().splitlines() or [""])[-1].lower()
        ok = ran.code == 74 and not ran.traceback and "stdout" in last and "no space" in last
        yield Trial(name, "stdout on a full disk", ok, "" if ok else f"{ran.code}: {ran.stderr[-300:]}")


def _run(
    here: Path, args: Sequence[str], *, cache: bool = False, before: Callable[[], None] | None = None
) -> forks.Ran:
    env = {"XDG_CACHE_HOME": str(here / ("disk" if cache else "cache"))}
    return forks.fork(args, here, env=env, before=before) if args else forks.Ran(0, b"", "", 0, 0)


# --- disks and what is on them ---

Tree = dict[str, tuple[str, int]]


def tree(top: Path) -> Tree:
    """Digest and size of every file, by its path; what is different from run to run is there by name only."""
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_file() and not _DIFFERS.search(name):
            data = path.read_bytes()
            if path.name == "clip.json":  # when its source was made is in it
                data = json.dumps(sorted(json.loads(data))).encode()
            found[name] = (hashlib.sha256(data).hexdigest(), len(data))
    return found


def same(now: Tree, expected: Tree) -> bool:
    """Whether two folders hold the same."""
    return now == expected


def unlike(now: Tree, expected: Tree) -> list[str]:
    """Files that differ."""
    return sorted(name for name in now | expected if now.get(name) != expected.get(name))[:5]


class Disk:
    """A file system in memory."""

    def __init__(self, at: Path) -> None:
        self.at = at

    def used(self) -> int:
        state = os.statvfs(self.at)
        return (state.f_blocks - state.f_bfree) * state.f_frsize

    def resize(self, size: int) -> None:
        _mount("-o", f"remount,size={size}", str(self.at))


@contextmanager
def small_disk(at: Path, size: int) -> Iterator[Disk]:
    """Mount a file system of so many bytes; always unmounted."""
    with folder(at):
        _mount("-t", "tmpfs", "-o", f"size={size},nr_inodes=10000", "vgeo-campaign", str(at))
        try:
            yield Disk(at)
        finally:
            subprocess.run(["umount", "-l", str(at)], check=True, capture_output=True)


@contextmanager
def folder(at: Path) -> Iterator[None]:
    """An empty folder that goes."""
    at.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(at)


def _mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True, capture_output=True)


def _may_mount(probe: Path) -> bool:
    """Whether this user may mount; else limits of a file's size are all that is tried."""
    with suppress(subprocess.CalledProcessError, OSError), small_disk(probe, 2**20):
        return True
    return False
