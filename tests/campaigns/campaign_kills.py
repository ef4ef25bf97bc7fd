"""Kill every command that writes, at any moment, and run it again.

A trial of a kill: the command runs in a folder of its own and is ended by SIGKILL, in every second trial at a random
moment of its time, else right before, in the middle of, or right after its n-th change of the disk, n going through
all of them. Then what is typed is typed again (training with --resume where there is something to resume), and

* every file is there that an undisturbed run makes, byte for byte, and none besides: no unfinished one, no lock,
  nothing in the folder for temporary files or in the cache. Of the metrics of a training the seconds are left out, and
  the report is of the second run. Where the first was finished and the second is told so (exit code 73), that will do.
* what was finished when it was killed is not made again, by the report and by inodes and times of files.
* at most one item that was begun is done again: a clip, an epoch, a part of a gallery's keys, a file of one answer.
  Clips that were being decoded ahead of the one that is worked on are decoded again.
* nothing that the killed process had started outlives it.

A trial of the order runs the command undisturbed and goes through its changes of the disk, see orders.py.
"""

import hashlib
import importlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import forks
import killing
from killing import At, Event
from orders import broken
from trials import Trial, some
from writers import WRITERS, Writer, content, copy_start, link_inputs, make_inputs, places

TITLE = "Kills"
PROMISE = (
    "Killed by SIGKILL at any moment and run again, every command leaves what an undisturbed run leaves, loses nothing "
    "that was finished, does at most one item again, and leaves nothing else behind."
)
KILLS = 200  # of each group of writers
SHORT = 0.1  # of less than this share, the dear writers are left out
REPORT = "report.jsonl"
CANNOT_CREATE = 73
_IMPORTED = ("torch._dynamo", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "vgeo.methods.gama")


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies in a folder."""

    files: dict[str, str]  # path -> digest of the content
    marks: dict[str, tuple[int, int]]  # path -> inode and time


@dataclass(frozen=True, slots=True)
class Whole:
    """An undisturbed run."""

    files: dict[str, str]
    events: list[Event]
    seconds: float


@dataclass(frozen=True, slots=True)
class Bench:
    """Where trials are made: the inputs, and the folder that each trial starts with empty."""

    inputs: Path
    here: Path
    notes: Path


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """Make the trials; `share` of the kills of each writer, and its order."""
    for name in _IMPORTED if share >= SHORT else ():
        importlib.import_module(name)
    forks.preload()
    writers = [writer for writer in WRITERS if share >= SHORT or not writer.dear]
    make_inputs(scratch / "inputs", dear=share >= SHORT)
    bench = Bench(scratch / "inputs", scratch / "trial", scratch / "notes")
    of_group = Counter(writer.group for writer in writers)
    for writer in writers:
        whole = _undisturbed(writer, bench)
        said = broken(whole.events, partial(_counts, bench, writer))
        yield Trial(writer.name, "order of writing", not said, "; ".join(said[:3]))
        yield from _kills(writer, bench, whole, some(KILLS // of_group[writer.group], share))


def _kills(writer: Writer, bench: Bench, whole: Whole, count: int) -> Iterator[Trial]:
    """Every second one at a step, the steps as far apart as they are many."""
    draw, steps = random.Random(writer.name), len(whole.events)
    at_steps = -(-count // 2)
    for number in range(count):
        if number % 2 == 0:
            place = round((number // 2 + 0.5) * 2 * steps / at_steps - 0.5)
            at = At(min(steps, place // 2 + 1), after=bool(place % 2))
            event = whole.events[at.number - 1]
            name = f"{'after' if at.after else 'before'} {at.number}, {event.kind} {_short(event.paths[-1], bench)}"
            yield _trial(writer, bench, whole, name, event.kind, at, None)
        else:
            after_s = draw.uniform(0, whole.seconds)
            yield _trial(writer, bench, whole, f"after {after_s:.3f} s", "random moment", None, after_s)


def _trial(
    writer: Writer, bench: Bench, whole: Whole, name: str, where: str, at: At | None, after_s: float | None
) -> Trial:
    _lay_out(writer, bench)
    args, env = _args(writer), places(bench.here)
    killed, outlived = killing.run(args, bench.here, bench.notes, at=at, after_s=after_s, env=env, before=writer.before)
    first = _items(writer, bench)
    before = _see(writer, bench)
    kept = {path for path in before.files if _finished(writer, bench, path)}
    again = [*args, *writer.again(bench.here)]
    ran, _ = killing.run(again, bench.here, bench.notes, env=env, before=writer.before)
    second, after = _items(writer, bench), _see(writer, bench)
    redone = first.begun & second.done
    wrong = [
        *([f"{len(outlived)} outlived it: {outlived[0]}"] if outlived else []),
        *_ended(ran, killed, before.files == whole.files),
        *_differences(after.files, whole.files),
        *(f"{path} was made again" for path in sorted(kept) if before.marks[path] != after.marks.get(path)),
        *(f"{item} was finished and done again" for item in sorted(first.finished & second.done)),
        *([f"{len(redone)} items done again: {', '.join(sorted(redone))}"] if len(redone) > 1 else []),
    ]
    left = len(set(before.files) - set(whole.files))
    facts = {
        "writer": writer.name,
        "where": where,
        "redone": len(redone),
        "left": left,
        "killed": killed.code == -9,
    }
    return Trial(f"{writer.name}: {name}", writer.group, not wrong, "; ".join(wrong[:4]), facts)


def _undisturbed(writer: Writer, bench: Bench) -> Whole:
    _lay_out(writer, bench)
    ran, _ = killing.run(_args(writer), bench.here, bench.notes, env=places(bench.here), before=writer.before)
    if ran.code != 0:
        raise RuntimeError(f"vgeo {' '.join(writer.args)} ended with {ran.code}: {ran.stderr}")
    events, _ = killing.read_notes(bench.notes)
    return Whole(_see(writer, bench).files, events, ran.seconds)


def _args(writer: Writer) -> list[str]:
    return [*writer.args, *(["--report", REPORT] if writer.items == "report" else [])]


def _lay_out(writer: Writer, bench: Bench) -> None:
    """An empty folder with links to the inputs, and what the writer starts with."""
    shutil.rmtree(bench.here, ignore_errors=True)
    bench.here.mkdir()
    bench.notes.unlink(missing_ok=True)
    link_inputs(bench.inputs, bench.here, writer.outputs)
    copy_start(writer, bench.inputs, bench.here)


def _see(writer: Writer, bench: Bench) -> Seen:
    """All files of the folder but the inputs and the report; folders without a file count, too."""
    files, marks = {}, {}
    for path in sorted(bench.here.rglob("*")):
        name = path.relative_to(bench.here).as_posix()
        if path.is_symlink() or name == REPORT or path.name in (".stdout", ".stderr"):
            continue
        if path.is_dir():
            if next(path.iterdir(), None) is None and name not in ("home", "home/cache", "tmp"):
                files[name + "/"] = ""
            continue
        state = path.stat()
        files[name] = hashlib.sha256(content(path)).hexdigest()
        marks[name] = state.st_ino, state.st_mtime_ns
    return Seen(files, marks)


def _finished(writer: Writer, bench: Bench, name: str) -> bool:
    """Whether a file belongs to a finished item of a folder."""
    if not writer.finished_before:
        return False
    folder, _, pattern = writer.finished_before.partition("/")
    own = (bench.here / folder).glob(pattern)
    of = [path.relative_to(bench.here) for path in own]
    return any(Path(name) == path or (len(path.parts) > 2 and path.parent in Path(name).parents) for path in of)


@dataclass(frozen=True, slots=True)
class Items:
    """Of one run. A file that is made at once has no items, and is made again where it was not finished."""

    begun: set[str]
    done: set[str]  # without those that were skipped
    finished: set[str]  # so that none of them is to be done again


def _items(writer: Writer, bench: Bench) -> Items:
    """Items of the run that has just ended."""
    begun = set(killing.read_notes(bench.notes)[1])
    if writer.items == "none":
        return Items(set(), set(), set())
    if writer.items == "steps":
        return Items(begun, begun, set())
    done = set()
    for line in (bench.here / REPORT).read_bytes().splitlines() if (bench.here / REPORT).exists() else []:
        if line.endswith(b"}"):
            said = json.loads(line)
            done |= {said["input"]} if said["status"] == "done" else set()
    return Items(begun, done, done)


def _ended(ran: forks.Ran, killed: forks.Ran, was_whole: bool) -> list[str]:
    """What is wrong with how the runs ended."""
    said = [] if killed.code in (-9, 0) else [f"the first run ended with {killed.code}: {killed.stderr[-200:]}"]
    if ran.traceback or not (ran.code == 0 or (ran.code == CANNOT_CREATE and was_whole)):
        said.append(f"the second run ended with {ran.code}: {ran.stderr.strip()[-200:]}")
    return said


def _differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return [
        *(f"{path} is missing" for path in sorted(set(wanted) - set(found))),
        *(f"{path} was left" for path in sorted(set(found) - set(wanted))),
        *(f"{path} differs" for path in sorted(set(found) & set(wanted)) if found[path] != wanted[path]),
    ]


def _counts(bench: Bench, writer: Writer, path: str) -> bool:
    """Whether a path is that of an output, which must outlive a loss of power."""
    inside = Path(path).relative_to(bench.here) if Path(path).is_relative_to(bench.here) else Path()
    return inside.parts[:1] != () and inside.parts[0] in writer.outputs and not inside.name.endswith(".partial")


def _short(path: str, bench: Bench) -> str:
    return path.removeprefix(f"{bench.here}/")


def report(trials: list[Trial]) -> str:
    """Per writer: kills, where they fell, and what they left."""
    lines = [
        "| writer | kills | held | done again, at most | unfinished files at the kill, at most | killed at |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(trial.facts["writer"] for trial in trials if trial.facts):
        own = [trial for trial in trials if trial.facts.get("writer") == name]
        where = Counter(trial.facts["where"] for trial in own if trial.facts["killed"])
        ended = sum(not trial.facts["killed"] for trial in own)
        said = [f"{kind} {count}" for kind, count in where.most_common()] + [f"had ended before {ended}"] * bool(ended)
        most = [max(trial.facts[fact] for trial in own) for fact in ("redone", "left")]
        lines.append(f"| {name} | {len(own)} | {sum(t.ok for t in own)} | {most[0]} | {most[1]} | {', '.join(said)} |")
    return "\n".join(lines)
