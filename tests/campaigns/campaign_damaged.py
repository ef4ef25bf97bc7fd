"""Damaged clips among good ones: `extract-frames` over a folder of them, and `precompute-features` over a part.

A trial is one damaged clip, tried in a folder with others and with good recordings. It holds when

* the run neither crashed nor hung (30 s for a clip), and showed no traceback;
* the report names the clip once, as done or failed, with a message of one short line, and a failure names the file;
* no fewer whole pictures came than `ffmpeg -err_detect ignore_err` salvages, counted by the numbers drawn in them at
  their times, or than the libraries that vgeo uses do where that is another version, which the report counts;
* each whole picture has the time of its number, and comes once, as far as the file itself does not say otherwise, or
  the report says that pictures may be wrong;
* where fewer frames came than the container declares, the report says so.

The good recordings of the folder must come whole, or all its trials fail. A folder's run may hold 1500 MB.
"""

import codecs
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import forks
import salvage
from damagemaker import FRAMES, RATE, Damaged, Recordings, damaged
from memory import Meter
from oddclips import odd_clips
from trials import Trial, some

TITLE = "Damaged clips"
PROMISE = (
    "Damaged clips neither stop a batch nor spoil it: each is accounted for, and gives what the ffmpeg command line "
    "salvages, under its right times."
)

_FOLDER = 12  # damaged clips tried in one run
_GOOD = ("first.mp4", "plain.mkv", "plain.ts")
_LIMIT_S = 30.0
_MOST_MB = 1500.0
_LONGEST_MESSAGE = 400
_HALF_FRAME_S = 0.5 / RATE
_TOLD = ("may be wrong", "the container declares")


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """Try the clips, so many at a time."""
    recordings = Recordings(scratch / "good")
    clips = [*damaged(recordings), *odd_clips(recordings)]
    wanted = some(len(clips), share)
    chosen = [clips[i * len(clips) // wanted] for i in range(wanted)]
    groups = [[c for c in chosen if c.read_as == user] for user in dict.fromkeys(c.read_as for c in chosen)]
    number = 0
    for group in groups:
        for first in range(0, len(group), _FOLDER):
            folder = scratch / f"{number:03d}"
            yield from _Folder(folder, recordings, group[first : first + _FOLDER]).trials(features=number % 3 == 0)
            shutil.rmtree(folder)
            number += 1


class _Folder:
    """Some damaged clips and the good ones, in a folder of their own."""

    def __init__(self, folder: Path, recordings: Recordings, clips: Sequence[Damaged]) -> None:
        self._folder, self._clips = folder, clips
        (folder / "clips").mkdir(parents=True)
        for clip in clips:
            clip.make(folder / "clips" / clip.name)
        for name in _GOOD:
            shutil.copy(recordings.path(name), folder / "clips" / f"good-{name}")
        self._said: dict[str, list[str]] = {clip.name: [] for clip in clips}
        self._facts: dict[str, dict[str, Any]] = {clip.name: {} for clip in clips}

    def trials(self, features: bool) -> Iterator[Trial]:
        self._extract()
        if features:
            self._precompute()
        for clip in self._clips:
            said = self._said[clip.name]
            yield Trial(printable(clip.name), clip.kind, not said, "; ".join(said), self._facts[clip.name])

    def _run(self, args: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The report's lines by file name, after what holds for a run as a whole."""
        before = None
        if self._clips[0].read_as is not None:
            codecs.lookup("utf-8-sig")  # that user may not be let in where Python lies
            os.chmod(self._folder, 0o777)
            before = _become_nobody
        meter = Meter()
        limit_s = _LIMIT_S + 2 * len(self._clips)
        ran = forks.fork([*args, "clips", "--report", "report.jsonl"], self._folder, before=before,
                         meanwhile=meter.watch, limit_s=limit_s)  # fmt: skip
        lines = [json.loads(line) for line in (self._folder / "report.jsonl").read_text().splitlines()]
        names = Counter(os.path.relpath(line["input"], "clips") for line in lines)
        report = {os.path.relpath(line["input"], "clips"): line for line in lines}
        failed = any(line["status"] == "failed" for line in lines)
        if ran.code is None:
            self._all(f"{args[0]} took more than {limit_s:.0f} s")
        elif ran.code != (3 if failed else 0):
            self._all(f"{args[0]} ended with {ran.code}: {ran.stderr[-300:]}")
        if ran.traceback or "\x1b" in ran.stderr or ran.stdout:
            self._all(f"{args[0]} said {ran.stdout[:100]!r}, {ran.stderr[-600:]!r}")
        if meter.peak_mb > _MOST_MB:
            self._all(f"{args[0]} held {meter.peak_mb:.0f} MB")
        for clip in self._clips:
            if names[printable(clip.name)] != clip.listed:
                self._said[clip.name].append(f"{args[0]} names it {names[printable(clip.name)]} times in its report")
            self._facts[clip.name]["peak_mb"] = meter.peak_mb
        for name in _GOOD:
            line = report.get(f"good-{name}")
            if line is None or line["status"] != "done" or line["exit_code"] != 0:
                self._all(f"{args[0]} did not do the good {name}: {line}")
        return report

    def _all(self, words: str) -> None:
        for said in self._said.values():
            said.append(words)

    def _extract(self) -> None:
        report = self._run(["extract-frames", "--stride", "1", "--quality", "95"])
        for name in _GOOD:
            outputs = report.get(f"good-{name}", {}).get("outputs") or ["none"]
            found, indices = salvage.with_vgeo(self._folder / outputs[0], True, 0)
            if [number for number, _ in found.whole] != list(range(FRAMES)) or indices != list(range(FRAMES)):
                self._all(f"the good {name} came out as {found.whole}")
        for clip in self._clips:
            if printable(clip.name) in report:
                self._said[clip.name] += self._judge(clip, report[printable(clip.name)])

    def _judge(self, clip: Damaged, line: dict[str, Any]) -> Iterator[str]:
        """What is wrong about a clip's line and frames."""
        path = self._folder / "clips" / clip.name
        yield from judge_line(line, str(path.relative_to(self._folder)))
        found, indices = salvage.Salvaged(), list[int]()
        if line["status"] == "done":
            found, indices = salvage.with_vgeo(self._folder / line["outputs"][0], clip.numbers, clip.turned)
            if found.frames != line["frames"]:
                yield f"{line['frames']} frames reported, {found.frames} written"
        facts = self._facts[clip.name]
        ours = _right(clip, found)
        facts |= {"status": line["status"], "message": line["message"], "vgeo": len(ours) or found.frames}
        if not (salvage.have_ffmpeg() and path.is_file() and clip.compared and clip.read_as is None):
            return
        other = salvage.with_ffmpeg(path, clip.numbers, clip.turned)
        theirs = _right(clip, other)
        facts["ffmpeg"] = len(theirs) or other.frames
        if facts["vgeo"] < facts["ffmpeg"]:
            same = salvage.in_order(path, clip.numbers, clip.turned)
            facts["older"] = facts["vgeo"] >= (len(_right(clip, same)) or same.frames)
            if not facts["older"]:
                yield f"{facts['vgeo']} whole pictures, ffmpeg salvages {facts['ffmpeg']}: {sorted(theirs - ours)} more"
        if clip.timed and not any(words in line["message"] for words in _TOLD):
            wrong = list(_judge_times(clip, found, indices, other))
            if wrong:  # unless that version of the libraries reads these times in the file
                wrong = list(_judge_times(clip, found, indices, salvage.in_order(path, clip.numbers, clip.turned)))
            yield from wrong
        declared = salvage.declared_frames(path) or 0
        told = (line["declared_frames"] or 0) > found.frames and line["message"]
        if line["status"] == "done" and found.frames < declared and not told:
            yield f"{declared} frames declared, {found.frames} came, and the report does not say so: {line}"

    def _precompute(self) -> None:
        report = self._run(["precompute-features", "--rate-hz", "5"])
        for clip in self._clips:
            line = report.get(printable(clip.name))
            if line is not None:
                name = os.path.join("clips", clip.name)
                self._said[clip.name] += [f"features: {words}" for words in judge_line(line, name)]
                status = self._facts[clip.name].get("status")
                if line["status"] != status:
                    self._said[clip.name].append(f"{status} by extract-frames, by precompute-features {line}")


def judge_line(line: dict[str, Any], path: str) -> Iterator[str]:
    """What is wrong about a line of a report."""
    message, path = line["message"], printable(path)
    if line["status"] not in ("done", "failed") or (line["status"] == "failed") != (line["exit_code"] != 0):
        yield f"status {line['status']}, code {line['exit_code']}"
    if line["status"] == "failed" and (not message.startswith(path) or line["outputs"]):
        yield f"failed with {message!r}, outputs {line['outputs']}"
    if line["status"] == "done" and not line["frames"]:
        yield "done without frames"
    if (
        "\n" in message.replace(path, "")
        or len(message) > _LONGEST_MESSAGE
        or "Error(" in message
        or "Errno" in message
    ):
        yield f"message {message!r}"


def _judge_times(
    clip: Damaged, found: salvage.Salvaged, indices: Sequence[int], other: salvage.Salvaged
) -> Iterator[str]:
    """Wrong times, and numbers that come twice, unless ffmpeg finds them in the file as well."""
    off_other = {(number, round(off_s, 2)) for (number, _), off_s in _off_times(clip, other).items()}
    off = [(number, round(off_s, 2)) for (number, _), off_s in _off_times(clip, found).items()]
    invented = [pair for pair in off if pair not in off_other]
    if invented:
        yield f"(number, seconds off) {invented[:8]} of {len(found.whole)}"
    twice = Counter(number for number, _ in found.whole) - Counter(number for number, _ in other.whole)
    twice = {number: count for number, count in twice.items() if count > 1}
    if twice:
        yield f"numbers that come more often than with ffmpeg: {twice}"
    if clip.placed:
        wrong = [(i, time_s) for i, (_, time_s) in zip(indices, found.whole, strict=True) if not _at(clip, i, time_s)]
        if wrong:
            yield f"(frame, seconds) {wrong[:8]}"


def _at(clip: Damaged, index: int, time_s: float) -> bool:
    return index < len(clip.times_s) and abs(clip.times_s[index] - time_s) < _HALF_FRAME_S


def _right(clip: Damaged, found: salvage.Salvaged) -> set[int]:
    """The numbers of whole pictures at their times: what a decoder makes up of its neighbours is not salvaged."""
    wrong = set(_off_times(clip, found)) if clip.timed else set()
    return {number for number, time_s in found.whole if (number, time_s) not in wrong}


def _off_times(clip: Damaged, found: salvage.Salvaged) -> dict[tuple[int, float], float]:
    """(number, time) of pictures that are off the time of their number, by how much; the start is where most agree."""
    offs = {(n, time_s): time_s - clip.times_s[n] for n, time_s in found.whole if n < len(clip.times_s)}
    if not offs:
        return {}
    start_s, _ = Counter(round(off_s, 2) for off_s in offs.values()).most_common(1)[0]
    return {at: off_s - start_s for at, off_s in offs.items() if abs(off_s - start_s) > _HALF_FRAME_S}


def printable(name: str) -> str:
    """A name as a report can hold it: bytes that are not UTF-8 are replaced."""
    return os.fsencode(name).decode(errors="replace")


def _become_nobody() -> None:
    os.setgid(65534)
    os.setuid(65534)


def report(made: list[Trial]) -> str:
    """By kind: what was salvaged."""
    kinds = dict.fromkeys(trial.kind for trial in made)
    lines = [
        "Whole pictures, told by the numbers drawn in them (frames, where a clip carries none):",
        "",
        "| damage | clips | done | failed | by vgeo | by ffmpeg |",
        "|---|---|---|---|---|---|",
    ]
    if not salvage.have_ffmpeg():
        lines.insert(0, "There was no ffmpeg to compare with.\n")
    for kind in kinds:
        facts = [trial.facts for trial in made if trial.kind == kind]
        status = Counter(fact.get("status") for fact in facts)
        ours, theirs = (sum(fact.get(name, 0) for fact in facts) for name in ("vgeo", "ffmpeg"))
        lines.append(f"| {kind} | {len(facts)} | {status['done']} | {status['failed']} | {ours} | {theirs} |")
    older = sum(bool(trial.facts.get("older")) for trial in made)
    lines += ["", f"In {older} clips the ffmpeg at hand salvages more than the version that PyAV {av.__version__} has."]
    peak_mb = max((trial.facts.get("peak_mb", 0.0) for trial in made), default=0.0)
    return "\n".join([*lines, "", f"The most memory that a run held, with its processes: {peak_mb:.0f} MB."])
