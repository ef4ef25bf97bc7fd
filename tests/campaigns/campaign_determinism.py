"""Run commands again, stopped and resumed, in other surroundings, and cut up otherwise: the same must come out.

two runs: the same bits in every output, of every command that writes; the second run is the real program with another
    seed of hashes, time zone, locale, home and folder. In the metrics of a training the seconds are left out.
resumed: a training is killed when an epoch has been written, at 5 points of it and with 3 seeds, and resumed: the same
    bits in the models, the state and the metrics as from the unbroken run.
cut otherwise: other --workers, decoding ahead, and kinds of naming the inputs (absolute, in another order) change
    no bit of any clip's features, frames or answers; only what says where a clip was found may differ.
batches, threads: another --batch-size or number of threads gives matrix products of other shapes, whose last bit may
    differ: gist's features keep every bit, those of networks differ by at most one step of float16; the answers are the
    same places in the same order, as they are written, and their probabilities are to four digits.
"""

import csv
import importlib
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import forks
import h5py
import numpy as np
from trials import Trial, some
from writers import (
    CPU,
    GEOCLIP,
    TRAININGS,
    WRITERS,
    Writer,
    content,
    copy_start,
    done,
    keep_each_epoch,
    link_inputs,
    make_inputs,
    make_networks,
    places,
)

TITLE = "Determinism"
PROMISE = (
    "On the CPU the same command gives the same bits, whenever, wherever and however often it is stopped; how work is "
    "cut up among workers changes no bit, and into batches or threads no answer."
)
SEEDS, POINTS = 3, 5
SHORT = 0.1  # of less than this share, the dear writers are left out
ELSEWHERE = {"PYTHONHASHSEED": "4242", "TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "C", "COLUMNS": "40"}
FEATURES = ("precompute-features", "--rate-hz", "1", "--offline", "--out", "out.h5", *CPU)
ENCODERS = ("gist", "clip", "torchvision:resnet18")
ABSOLUTE = 1e-6  # near zero, where steps of float16 are smaller than the rounding of float32
NETWORKS = (
    "-e", "gist", "-e", "clip", "-e", "torchvision:resnet18", "--weights", "clip=clip",
    "--weights", "torchvision:resnet18=resnet18.safetensors", "--set", "torchvision:resnet18.size=96",
)  # fmt: skip
ANSWERS = ("localize", "--model", "models/geoclip", "--gallery", "grid.h5", "--no-places", "--out", "out.csv", *CPU)


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """Make the trials."""
    whole = share >= SHORT
    forks.preload()
    for name in ("torch._dynamo", "PIL.JpegImagePlugin", "transformers", "torchvision") if whole else ():
        importlib.import_module(name)
    inputs = scratch / "inputs"
    make_inputs(inputs, dear=whole)
    bench = _Bench(inputs, scratch)
    yield from _two_runs(bench, WRITERS if whole else WRITERS[:1])
    yield from _features_cut_otherwise(bench)
    if whole:
        yield from _others_cut_otherwise(bench)
        yield from _resumed(bench, share)
        make_networks(inputs)
        yield from _batches(bench, [*FEATURES, "clips", *NETWORKS])


class _Bench:
    """Makes runs, each in a folder of its own with links to the inputs."""

    def __init__(self, inputs: Path, scratch: Path) -> None:
        self.inputs, self._scratch, self._count = inputs, scratch, 0

    def folder(self, outputs: Sequence[str] = (), inputs: Path | None = None) -> Path:
        self._count += 1
        here = self._scratch / f"run{self._count}"
        here.mkdir()
        link_inputs(inputs or self.inputs, here, outputs)
        return here

    def run(self, args: Sequence[str], outputs: Sequence[str], before: Callable[[], None] | None = None) -> Path:
        here = self.folder(outputs)
        done(forks.fork(args, here, env=places(here), before=before), args)
        return here


def _two_runs(bench: _Bench, writers: Sequence[Writer]) -> Iterator[Trial]:
    for writer in writers:
        found = []
        for elsewhere in (False, True):
            here = bench.folder(writer.outputs)
            copy_start(writer, bench.inputs, here)
            if elsewhere:
                env = places(here) | ELSEWHERE
                ran = forks.shell(["vgeo", *writer.args], here, env=env)
            else:
                ran = forks.fork(writer.args, here, env=places(here))
            done(ran, writer.args)
            found.append(_outputs(here, writer.outputs))
            shutil.rmtree(here)
        yield _same(writer.name, "two runs", *found)


def _resumed(bench: _Bench, share: float) -> Iterator[Trial]:
    """Each training, unbroken once a seed, and killed once at each point."""
    for name, seed in [(name, seed) for name in TRAININGS for seed in range(SEEDS)]:
        args = [*TRAININGS[name], "--seed", str(seed), "--out", "new"]
        unbroken = bench.run(args, ["new"], keep_each_epoch)
        wanted = _outputs(unbroken, ["new"])
        shutil.rmtree(unbroken)
        for point in range(1, 1 + some(POINTS, share)):
            here = bench.folder(["new"])
            first = forks.fork(args, here, env=places(here), before=partial(_killed_after, point))
            lines = (here / "new" / "metrics.jsonl").read_text().splitlines()
            second = forks.fork([*args, "--resume"], here, env=places(here), before=keep_each_epoch)
            found = _outputs(here, ["new"])
            shutil.rmtree(here)
            trial = _same(f"{name}, seed {seed}, killed after epoch {point}", f"resumed {name}", found, wanted)
            if (first.code, second.code, len(lines)) != (-9, 0, point):
                said = f"the runs ended with {first.code}, {second.code} after {len(lines)} epochs: {second.stderr}"
                trial = Trial(trial.name, trial.kind, False, said)
            yield trial


def _killed_after(epochs: int) -> None:
    """In the fork: die when so many epochs have been written."""
    from vgeo.training.run import Run

    keep_each_epoch()
    finish, count = Run._finish, 0

    def finished(self: Run, *words: Any) -> None:
        nonlocal count
        finish(self, *words)
        count += 1
        if count == epochs:
            os.kill(os.getpid(), signal.SIGKILL)

    Run._finish = finished  # type: ignore[method-assign]


def _named_otherwise(bench: _Bench) -> dict[str, list[str]]:
    """The clips, named in other ways than as a folder of this one."""
    names = sorted(path.name for path in (bench.inputs / "clips").glob("*.mp4"))
    return {
        "inputs backwards": [f"clips/{name}" for name in reversed(names)],
        "inputs by absolute paths": [str(bench.inputs / "clips")],
    }


def _features_cut_otherwise(bench: _Bench) -> Iterator[Trial]:
    """Workers, and how inputs are named."""
    plain = _features(bench.run([*FEATURES, "clips"], ["out.h5"]) / "out.h5")
    ways = {f"--workers {count}": ["clips", "--workers", str(count)] for count in (1, 4)} | _named_otherwise(bench)
    for how, words in ways.items():
        found = _features(bench.run([*FEATURES, *words], ["out.h5"]) / "out.h5")
        yield _same(f"precompute-features, {how}", "cut otherwise", found, plain)


def _others_cut_otherwise(bench: _Bench) -> Iterator[Trial]:
    """Decoding ahead, and how inputs are named."""
    ways = _named_otherwise(bench)
    frames = _frames(bench.run(["extract-frames", "clips", "--out", "new"], ["new"]) / "new")
    for how, inputs in ways.items():
        found = _frames(bench.run(["extract-frames", *inputs, "--out", "new"], ["new"]) / "new")
        yield _same(f"extract-frames, {how}", "cut otherwise", found, frames)
    answers = _answers(bench.run([*ANSWERS, "clips"], ["out.csv"]) / "out.csv")
    for how, inputs in (ways | {"one clip ahead": ["clips"], "five clips ahead": ["clips"]}).items():
        ahead = 1 if how.startswith("one") else 5
        here = bench.run([*ANSWERS, *inputs], ["out.csv"], partial(_decode_ahead, ahead))
        yield _same(f"localize, {how}", "cut otherwise", _answers(here / "out.csv"), answers)


def _decode_ahead(clips: int) -> None:
    from vgeo.stages import localize

    localize.AHEAD = clips


def _batches(bench: _Bench, args: Sequence[str]) -> Iterator[Trial]:
    """Features of gist and of two networks, and what models that learned from the first of them answer to each."""
    first = bench.run([*args, "--batch-size", "32"], ["out.h5"])
    plain = _features(first / "out.h5")
    for encoder in ENCODERS:
        train = ("train", "out.h5", "--epochs", "3", "--val-fraction", "0", "--set", f"encoder={encoder}", *GEOCLIP)
        done(forks.fork([*train, "--out", f"new/{encoder}"], first, env=places(first)), train)
    wanted = {encoder: _answers_to(first / "out.h5", first, encoder, 1) for encoder in ENCODERS}
    for batch, threads in ((1, 1), (2, 1), (3, 1), (7, 1), (32, 2), (3, 2)):
        name = f"--batch-size {batch}, {threads} thread{'s' * (threads > 1)}"
        here = bench.run([*args, "--batch-size", str(batch)], ["out.h5"], partial(_threads, threads))
        yield _nearly(name, _features(here / "out.h5"), plain)
        for encoder in ENCODERS:
            found = _answers_to(here / "out.h5", first, encoder, threads)
            trial = _same(f"{name}, answers by {encoder}", "batches, threads: answers", found[0], wanted[encoder][0])
            near = np.allclose(found[1], wanted[encoder][1], rtol=1e-4, atol=0)
            yield trial if near else Trial(trial.name, trial.kind, False, "probabilities differ")


def _answers_to(features: Path, first: Path, encoder: str, threads: int) -> tuple[dict[str, bytes], list[float]]:
    """The places of each clip, and how probable they are."""
    (first / "out.csv").unlink(missing_ok=True)
    words = ("--model", f"new/{encoder}", "--gallery", "grid.h5", "--no-places", "--out", "out.csv", *CPU)
    args = ("localize", str(features), *words)
    done(forks.fork(args, first, env=places(first), before=partial(_threads, threads)), args)
    places_of, probable = {}, []
    for clip, text in _answers(first / "out.csv").items():
        lines = json.loads(text)
        for line in lines:
            candidates = json.loads(line.pop("candidates"))
            probable += [float(line.pop("confidence")), float(line.pop("radius_km")), *(c[2] for c in candidates)]
            line["places"] = [candidate[:2] for candidate in candidates]
        places_of[clip] = json.dumps(lines).encode()
    return places_of, probable


def _threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _outputs(here: Path, outputs: Sequence[str]) -> dict[str, bytes]:
    """All files of some outputs, by name."""
    files = [
        path for name in outputs for path in ((here / name).rglob("*") if (here / name).is_dir() else [here / name])
    ]
    return {path.relative_to(here).as_posix(): content(path) for path in files if path.is_file()}


def _features(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """The columns of each clip but for where it was found, read without vgeo."""
    found: dict[str, dict[str, np.ndarray]] = {}
    with h5py.File(path) as file:
        first, rows, clips = (
            file["first_row"][:],
            ["time_s", "frame_index", "lat_deg", "lon_deg"],
            ["start_utc", "made_from"],
        )
        for number, name in enumerate(file["video_id"].asstr()[:]):
            part = slice(first[number], first[number + 1])
            columns = {column: file[column][part] for column in rows}
            columns |= {column: np.array([file[column].asstr()[number]]) for column in clips}
            found[name] = columns | {
                f"features/{column}": file["features"][column][part] for column in file["features"]
            }
    return found


def _frames(folder: Path) -> dict[str, bytes]:
    """All files of a folder of frames; of clip.json all but where the clip was found."""
    found = _outputs(folder.parent, [folder.name])
    for name, data in found.items():
        if name.endswith("clip.json"):
            found[name] = json.dumps({k: v for k, v in json.loads(data).items() if k != "source"}).encode()
    return found


def _answers(path: Path) -> dict[str, bytes]:
    """The lines of each clip; all but where it was found."""
    found: dict[str, list[dict[str, str]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            line.pop("source", None)
            found.setdefault(line["video_id"], []).append(line)
    return {name: json.dumps(lines).encode() for name, lines in found.items()}


def _same(name: str, kind: str, found: Any, wanted: Any) -> Trial:
    """A trial that holds where both are the same, whatever the order of what is in them."""
    said = [f"{key} is there once" for key in sorted(set(found) ^ set(wanted))]
    said += [f"{key} differs" for key in sorted(set(found) & set(wanted)) if _bits(found[key]) != _bits(wanted[key])]
    return Trial(name, kind, bool(found) and not said, "; ".join(said[:4]) or "nothing was made")


def _bits(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: (table.dtype.str, table.shape, table.tobytes()) for key, table in value.items()}
    return value


def _nearly(name: str, found: dict[str, dict[str, np.ndarray]], wanted: dict[str, dict[str, np.ndarray]]) -> Trial:
    """Every column of every clip is the same but for the networks' features, which are so to a step of float16."""
    said, changed, values = [], Counter[str](), Counter[str]()
    for clip, columns in wanted.items():
        for column, table in columns.items():
            other = found[clip][column]
            if column.removeprefix("features/") not in ENCODERS[1:]:
                said += [f"{clip}: {column} differs"] if table.tobytes() != other.tobytes() else []
                continue
            step = np.spacing(np.maximum(np.abs(table), np.abs(other))).astype(np.float64) + ABSOLUTE
            far = np.abs(table.astype(np.float64) - other.astype(np.float64)) > step
            said += [f"{clip}: {column} differs by more than a step"] if far.any() else []
            changed[column], values[column] = changed[column] + int((table != other).sum()), values[column] + table.size
    facts = {"changed": dict(changed), "values": dict(values)}
    return Trial(name, "batches, threads: features", not said and set(found) == set(wanted), "; ".join(said[:4]), facts)


def report(trials: list[Trial]) -> str:
    """How many of the features have another last bit."""
    lines = ["| precompute-features | values of float16 that differ from --batch-size 32 and one thread |", "|---|---|"]
    for trial in trials:
        if trial.facts:
            changed, values = trial.facts["changed"], trial.facts["values"]
            said = [f"{name.removeprefix('features/')} {changed[name]} of {values[name]:,}" for name in values]
            lines.append(f"| {trial.name} | gist 0, {', '.join(said)} |")
    return "\n".join(lines) if len(lines) > 2 else ""
