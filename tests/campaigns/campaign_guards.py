"""Guards broken on purpose, one after the other: the campaign that watches over each must notice.

A guard is replaced in this process, whose forks make the other campaign's trials; as soon as one of them does not
hold, the break is caught. Children that decode are processes of their own and not reached: what guards them is broken
in tests/video/test_isolated.py.
"""

import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import forks
import run
from trials import Trial

from vgeo import errors, records
from vgeo.formats import (
    antimeridian,
    checkpoints,
    claims,
    frame_folder,
    frames,
    safe_h5,
    safe_xml,
    streams,
    tables,
    unfinished,
)
from vgeo.stages import batch

TITLE = "Guards, broken on purpose"
PROMISE = "Each break is noticed by the campaign that it is of."

NEARLY_ALL = 0.99  # of a campaign, without what only the whole of it prepares


@dataclass(frozen=True, slots=True)
class Break:
    """A guard that is taken away, and where that must be noticed."""

    name: str
    campaign: str
    share: float
    broken: Callable[[], "Iterator[None]"]


def everywhere(old: Any, new: Any) -> Callable[[], Any]:
    """Replace a function under every name that the package has imported it by."""

    @contextmanager
    def replaced() -> Iterator[None]:
        with ExitStack() as stack:
            found = 0
            for module_name, module in list(sys.modules.items()):
                if module_name.partition(".")[0] != "vgeo":
                    continue
                for name, value in list(vars(module).items()):
                    if value is old:
                        stack.enter_context(mock.patch.object(module, name, new))
                        found += 1
            assert found, old
            yield

    return replaced


def within(owner: Any, name: str, new: Any) -> Callable[[], Any]:
    """Replace one attribute."""
    return lambda: mock.patch.object(owner, name, new)


class _Os:
    """The module os, whose fsync does nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @staticmethod
    def fsync(handle: int) -> None:
        del handle


def _all_lines(path: Any, longest: int = 0) -> Iterator[str]:
    del longest
    yield from Path(path).read_text(encoding="utf-8").splitlines()


def _in_place(target: Path) -> tuple[int, Path]:
    return os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666), target


_FORMAT = frames.format_frames
_ADD = batch.Batch._add


def _shuffled(records: Any) -> Any:
    order = list(records)
    random.SystemRandom().shuffle(order)
    return _FORMAT(order)


def _add_unless_failed(self: Any, name: str, item: Any, status: str, *rest: Any) -> None:
    if status != "failed":
        _ADD(self, name, item, status, *rest)


BREAKS = (
    Break("a rename without fsync", "kills", 0.005, within(streams, "os", _Os())),
    Break("files written under their final name", "kills", NEARLY_ALL, within(unfinished, "begin_file", _in_place)),
    Break("finished videos are not recognised", "kills", NEARLY_ALL,
          within(frame_folder.FrameFolder, "finished", lambda *_: None)),
    Break("claims are given to all who ask", "shared", NEARLY_ALL, within(claims, "_lock", lambda *_: True)),
    Break("a full disk is called a folder that cannot be written", "disks", NEARLY_ALL,
          everywhere(errors.writing_failed, lambda path, *_: errors.OutputError(f"{path}: cannot be written"))),
    Break("HDF5 may link to other files", "hostile", NEARLY_ALL,
          within(safe_h5, "_check_structure", lambda *_: None)),
    Break("XML may declare entities", "hostile", NEARLY_ALL, everywhere(safe_xml.check_xml, lambda *_: None)),
    Break("95 degrees north are a place", "hostile", NEARLY_ALL,
          everywhere(records.check_latlon, lambda *_, **__: None)),
    Break("names lead out of a folder", "hostile", NEARLY_ALL, everywhere(streams.file_name, lambda text: text)),
    Break("weights may be NaN", "hostile", 1.0, within(checkpoints, "_checked", lambda tensors, _: tensors)),
    Break("cells of CSV may be formulas", "hostile", NEARLY_ALL, everywhere(tables.guarded, lambda text: text)),
    Break("lines of any length are read", "memory", NEARLY_ALL, everywhere(streams.read_lines, _all_lines)),
    Break("lines are not cut at 180 degrees", "output", 0.1,
          everywhere(antimeridian.cut, lambda latlon, times: [(latlon, times)])),
    Break("order is left to chance", "determinism", 0.005, everywhere(frames.format_frames, _shuffled)),
    Break("failed inputs are left out of the report", "damaged", 0.1, within(batch.Batch, "_add", _add_unless_failed)),
)  # fmt: skip


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """Break each guard; of a share the quickest."""
    forks.preload()
    for chosen in BREAKS if share >= 1 else [one for one in BREAKS if one.share < share]:
        with tempfile.TemporaryDirectory(dir=scratch) as folder, chosen.broken():
            noticed = next(
                (trial for trial in run.load(chosen.campaign).trials(Path(folder), chosen.share) if not trial.ok), None
            )
        yield Trial(
            chosen.name,
            f"noticed by {chosen.campaign}",
            noticed is not None,
            "not noticed" if noticed is None else "",
            {} if noticed is None else {"by": f"{noticed.kind}: {noticed.name}", "said": noticed.said},
        )


def report(made: Sequence[Trial]) -> str:
    """What noticed each."""
    lines = ["| broken | noticed by | which said |", "|---|---|---|"]
    lines += [
        f"| {trial.name} | {trial.facts.get('by', 'nothing')} | {_cell(trial.facts.get('said', ''))} |"
        for trial in made
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """A text that fits into a table."""
    return " ".join(text.replace("|", "/").split())[:160]
