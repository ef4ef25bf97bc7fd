"""Eight processes that fill one store: a folder of frames, a feature file, a folder of tracks.

A trial starts them together on twelve clips, and lets them end undisturbed, or kills one by SIGKILL: while it works on
an item, after it has written one and before it could tell the others, or at any time. The output must be, byte by byte
and file by file, what one process makes alone; each clip must have been done once in all reports together, or twice
where its worker was killed; and whoever was not killed must end with 0 and account for every clip.
"""

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path

import forks
from clipmaker import draw, make_video
from PIL import Image
from trials import Trial, some

TITLE = "Processes that share a store"
PROMISE = "Eight processes that fill one store do each item once and leave what one would, also when one is killed."

WRITERS = {
    "extract-frames": ("extract-frames", "../clips", "--rate-hz", "5", "-o", "../store"),
    "precompute-features": ("precompute-features", "../clips", "-e", "gist", "--device", "cpu", "-o", "../store/f.h5"),
    "localize": ("localize", "../clips", "-m", "nearest", "-g", "../near.h5", "-o", "../store/"),
}
KILLS = ("at work", "", "before it tells", "any time")
PROCESSES, CLIPS, TRIALS = 8, 12, 96


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is tried: which command, with --overwrite over a finished store or not, and how one of them is killed."""

    number: int
    writer: str
    kill: str
    overwrite: bool


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """Every writer with every way of being killed, again and again; each third time with --overwrite."""
    _make_world(scratch, videos=share == 1)
    alone = {name: _alone(scratch, name) for name in WRITERS}
    plans = islice(cycle(product(KILLS, WRITERS)), some(TRIALS, share))
    for number, (kill, writer) in enumerate(plans):
        plan = _Plan(number, writer, kill, overwrite=number // len(KILLS) // len(WRITERS) % 3 == 2)
        yield _together(scratch, plan, alone[writer], PROCESSES if share == 1 else 3)


def _make_world(here: Path, videos: bool) -> None:
    """Clips with tracks: videos, or folders of pictures, which need no processes that decode."""
    (here / "clips").mkdir()
    (here / "alone").mkdir()
    for number in range(CLIPS):
        if videos:
            make_video(here / "clips" / f"v{number}.mp4", frames=10 + number, rate=10, size=(96, 64))
        else:
            (here / "clips" / f"v{number}").mkdir()
            for index in range(4 + number % 3):
                Image.fromarray(draw(number + index, 96, 64)).save(here / "clips" / f"v{number}" / f"{index}.png")
        rows = "\n".join(f"{t},{50 + number + t * 1e-3:.6f},{10 + t * 1e-3:.6f}" for t in range(4))
        (here / "clips" / f"v{number}.csv").write_text(f"time_s,lat,lon\n{rows}\n")
    _must(["precompute-features", "../clips", "-e", "gist", "--device", "cpu", "-o", "../near-features.h5"], here)
    _must(["build-gallery", "points", "../near-features.h5", "--keep-features", "-o", "../near.h5"], here)


def _must(args: Sequence[str], here: Path) -> None:
    ran = forks.fork(args, here / "alone", env={"XDG_CACHE_HOME": str(here / "cache")})
    if ran.code != 0:
        raise RuntimeError(f"vgeo {' '.join(args)} ended with {ran.code}: {ran.stderr}")


def _alone(here: Path, writer: str) -> dict[str, bytes]:
    """What one process leaves."""
    _must(WRITERS[writer], here)
    found = _tree(here / "store")
    shutil.rmtree(here / "store")
    return found


def _together(here: Path, plan: _Plan, expected: dict[str, bytes], processes: int) -> Trial:
    if plan.overwrite:
        _must(WRITERS[plan.writer], here)
    rans = _start(here, plan, processes)
    reports = [_report(here / f"p{number}" / "report.jsonl") for number in range(processes)]
    found = _tree(here / "store")
    wrong = list(_wrong(plan, rans, reports, found, expected))
    done = sum(line["status"] == "done" for report in reports for line in report)
    shutil.rmtree(here / "store")
    for number in range(processes):
        shutil.rmtree(here / f"p{number}")
    kind = f"{plan.writer}, {'one killed ' + plan.kill if plan.kill else 'undisturbed'}"
    name = f"{plan.number}{', --overwrite' * plan.overwrite}"
    facts = {"redone": done - CLIPS, "killed": sum(ran.code == -signal.SIGKILL for ran in rans)}
    return Trial(name, kind, not wrong, "; ".join(wrong), facts)


def _start(here: Path, plan: _Plan, processes: int) -> list[forks.Ran]:
    """Run them at once: each fork is made while the one before it runs."""
    rans: dict[int, forks.Ran] = {}

    def start(number: int, first: int) -> None:
        if number == processes:
            if plan.kill == "any time":
                time.sleep(0.15 + 0.02 * (plan.number % 40))
                os.kill(first, signal.SIGKILL)
            return
        folder = here / f"p{number}"
        folder.mkdir()
        args = [*WRITERS[plan.writer], "--report", "report.jsonl", *["--overwrite"] * plan.overwrite]
        rans[number] = forks.fork(
            args,
            folder,
            env={"XDG_CACHE_HOME": str(here / "cache")},
            before=_death(plan) if number == 0 else None,
            meanwhile=lambda child: start(number + 1, first or child),
        )

    start(0, 0)
    return [rans[number] for number in range(processes)]


def _death(plan: _Plan) -> Callable[[], None] | None:
    """Have the process end at its first, second or third item."""
    left = [1 + plan.number % 3]

    def count() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def before() -> None:
        from vgeo.formats import claims

        if plan.kill == "before it tells":
            claims.Claim.settle = lambda self, said: (count(), self.drop())[1]  # type: ignore[method-assign]
            return
        claim = claims.Claims.claim

        def claimed(self: claims.Claims, key: str, stamp: str = "") -> claims.Claim | None:
            found = claim(self, key, stamp)
            if found is not None and found.settled is None:
                count()
            return found

        claims.Claims.claim = claimed  # type: ignore[method-assign]

    return before if plan.kill in ("at work", "before it tells") else None


def _wrong(
    plan: _Plan,
    rans: Sequence[forks.Ran],
    reports: Sequence[list[dict[str, str]]],
    found: dict[str, bytes],
    expected: dict[str, bytes],
) -> Iterator[str]:
    for number, (ran, report) in enumerate(zip(rans, reports, strict=True)):
        killed = number == 0 and plan.kill and ran.code == -signal.SIGKILL
        if ran.code != 0 and not killed:
            yield f"process {number} ended with {ran.code}: {ran.stderr.strip()[-200:]}"
        if not killed and len({line["input"] for line in report}) != CLIPS:
            yield f"process {number} reports {len(report)} clips"
        if ran.traceback:
            yield f"process {number} shows a traceback"
    done = Counter(line["input"] for report in reports for line in report if line["status"] == "done")
    twice = sum(done.values()) - len(done)
    lost = CLIPS - len(done)  # of a killed one that wrote an item and no line of its report
    if lost > bool(plan.kill) or twice > bool(plan.kill):
        yield f"{lost} clips were done by nobody, {twice} again"
    left = [name for name in found if any(mark in name for mark in (".claims", ".parts", ".partial"))]
    if left:
        yield f"{left[0]} is left, of {len(left)}"
    differ = [name for name in sorted(found.keys() | expected.keys()) if found.get(name) != expected.get(name)]
    if differ:
        what = "missing" if differ[0] not in found else "left over" if differ[0] not in expected else "another"
        yield f"{differ[0]} is {what}, and {len(differ) - 1} more files differ"


def _report(path: Path) -> list[dict[str, str]]:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _tree(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    empty = [path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())]
    return {str(path.relative_to(folder)): b"" if path in empty else path.read_bytes() for path in (*files, *empty)}


def report(made: list[Trial]) -> str:
    """How often a kill cost an item."""
    killed = sum(trial.facts["killed"] for trial in made)
    again = sum(trial.facts["redone"] > 0 for trial in made)
    return f"{PROCESSES} processes, {CLIPS} clips; {killed} processes were killed, and {again} clips done again for it."
