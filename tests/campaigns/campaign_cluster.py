"""A local Ray cluster whose worker is killed in the middle: the clips it had are done again, and nothing else is.

A trial runs `precompute-features` or `localize` over a folder with `--ray local`, kills a worker (-9) as soon as the
report has so many lines, once or twice, and compares what is written with a run without a cluster, byte for byte. One
clip of the folder cannot be read: it is in the report, as ever.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import forks
from clipmaker import make_video
from trials import Trial, some

TITLE = "A cluster that loses workers"
PROMISE = "Every clip is done once a loss at most, by whoever is left; the output is that of a run on one machine."

CLIPS, RUNS, LIMIT_S = 12, 12, 240.0
_TRACK = "time_s,lat,lon\n" + "".join(f"{second},{48 + second / 1000},2\n" for second in range(5))


@dataclass(frozen=True, slots=True)
class _Job:
    command: str
    words: tuple[str, ...]
    out: str


_JOBS = (
    _Job("precompute-features", ("clips", "--encoder", "gist"), "out.h5"),
    _Job("localize", ("clips", "--method", "nearest", "--gallery", "near.h5"), "out.geojson"),
    _Job("localize", ("clips", "--method", "nearest", "--gallery", "near.h5"), "out/"),
)


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """Make the trials; every third of them kills twice."""
    try:
        import ray  # noqa: F401
    except ImportError:
        yield Trial("Ray", "not tried", True, "Ray is not installed here")
        return
    chance = random.Random(6)
    _make(scratch)
    truth = scratch / "truth"
    for number in range(some(RUNS, share)):
        job = _JOBS[number % len(_JOBS)]
        if number < len(_JOBS):
            _run(truth, job, [])
        yield _trial(scratch, truth, job, sorted(chance.sample(range(1, CLIPS - 1), 1 + (number % 4 == 3))), number)


def _make(scratch: Path) -> None:
    truth = scratch / "truth"
    clips = truth / "clips"
    clips.mkdir(parents=True)
    for number in range(CLIPS):
        make_video(clips / f"c{number:02}.mp4", frames=60 + 10 * number, size=(160, 96))
        (clips / f"c{number:02}.csv").write_text(_TRACK)
    (clips / "bad.mp4").write_text("<html>")
    ran = forks.fork(["precompute-features", "clips/c01.mp4", "clips/c05.mp4", "--out", "near-features.h5"], truth)
    assert ran.code == 0, ran.stderr
    ran = forks.fork(["build-gallery", "points", "near-features.h5", "--keep-features", "--out", "near.h5"], truth)
    assert ran.code == 0, ran.stderr


def _trial(scratch: Path, truth: Path, job: _Job, kills: Sequence[int], number: int) -> Trial:
    here = scratch / f"run{number}"
    here.mkdir()
    for name in ("clips", "near.h5"):
        (here / name).symlink_to(truth / name)
    code, killed, stderr = _run(here, job, kills)
    lines = [json.loads(line) for line in (here / "report.jsonl").read_text().splitlines()]
    status = {line["input"]: line["status"] for line in lines}
    wrong = []
    if code != 3 or "Traceback" in stderr:
        wrong.append(f"exit {code}: {stderr[-300:]}")
    if len(lines) != CLIPS + 1 or sum(said == "done" for said in status.values()) != CLIPS:
        wrong.append(f"report: {status}")
    if killed != len(kills):
        wrong.append(f"{killed} of {len(kills)} workers could be killed")
    if stderr.count("a worker was lost") != len(kills):
        wrong.append(f"losses said: {stderr.count('a worker was lost')}")
    if _content(here / job.out) != _content(truth / job.out):
        wrong.append(f"{job.out} differs from a run without a cluster")
    shutil.rmtree(here)
    where = f"after {' and '.join(map(str, kills))} of {CLIPS + 1} clips"
    return Trial(
        f"{job.command} {job.out}, {where}", f"{job.command}, {len(kills)} killed", not wrong, "; ".join(wrong)
    )


def _run(here: Path, job: _Job, kills: Sequence[int]) -> tuple[int | None, int, str]:
    """Run a job; with kills, on a cluster of its own whose workers die. Returns code, workers killed, stderr."""
    words = [sys.executable, "-m", "vgeo", job.command, *job.words, "--out", job.out, "--report", "report.jsonl"]
    process = subprocess.Popen(
        [*words, *(["--ray", "local"] if kills else [])], cwd=here, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    killed, report, deadline = 0, here / "report.jsonl", time.monotonic() + LIMIT_S
    for after in kills:
        while process.poll() is None and time.monotonic() < deadline:
            if report.exists() and report.read_text().count("\n") >= after and _kill_worker(here):
                killed += 1
                break
            time.sleep(0.01)
    try:
        _, stderr = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        _, stderr = process.communicate()
        return None, killed, stderr
    return process.returncode, killed, stderr


def _kill_worker(here: Path) -> bool:
    """Kill a worker of this run: it is called after what it does, and works in this folder."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            busy = entry.name.isdecimal() and (entry / "cmdline").read_bytes().startswith(b"ray::_Worker")
            if busy and os.readlink(entry / "cwd") == str(here):
                os.kill(int(entry.name), signal.SIGKILL)
                return True
    return False


def _content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(path.rglob("*.geojson"))
    return {file.name: file.read_bytes() for file in files}
