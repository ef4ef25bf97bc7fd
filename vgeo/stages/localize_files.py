"""Localize a batch into a file, into a folder of one file a clip, or to stdout; every input is accounted for."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

from vgeo.errors import BusyError, OutputError, SettingError, UsageError, VgeoError
from vgeo.formats.claims import Claims
from vgeo.formats.shards import Shard, share_of
from vgeo.formats.streams import (
    check_output,
    dump_json,
    file_name,
    is_stdio,
    make_folder,
    parse_json,
    read_text,
    write_output,
)
from vgeo.formats.tracks import FORMATS, format_of, write_localizations
from vgeo.logs import SILENT, Progress
from vgeo.methods.settings import differences
from vgeo.records import Localization, Outcome
from vgeo.reports.map import write_map
from vgeo.reports.map_tiles import tiles_under
from vgeo.stages.batch import Batch
from vgeo.stages.localize import Prepared
from vgeo.stages.localize_cluster import ClusterPrepared
from vgeo.stages.turns import Turns, say_skipped

log = logging.getLogger(__name__)

SETTINGS = ".localize.json"  # of a folder of results: what they were made with


def is_folder(out: str) -> bool:
    """True when `out` asks for one file a clip: it ends in a slash, or is a folder."""
    return out.endswith(os.sep) or Path(out).is_dir()


def check_out(
    out: str, format: str | None, overwrite: bool, report: Path | None = None, page: Path | None = None
) -> None:
    """Raise UsageError or OutputError, before any work, when results cannot be written there."""
    if format is not None and format not in FORMATS:
        raise UsageError(f"--format {format}: not one of {', '.join(FORMATS)}")
    if report is not None and is_stdio(report) and is_stdio(out):
        raise UsageError("--report -: stdout takes the tracks already; give a file, for them (--out) or the report")
    if page is not None and is_folder(out):
        raise UsageError(f"--map {page}: goes with one file of all clips; {out} is a folder of one file a clip")
    if page is not None:
        check_output(page, overwrite)
    if is_folder(out):
        make_folder(out)
        if not os.access(out, os.W_OK):
            raise OutputError(f"{out}: cannot be written; choose another folder with --out")
        return
    check_output(out, overwrite)
    if not is_stdio(out) and format_of(out, format) not in FORMATS:
        raise UsageError(f"{out}: localizations are written as {', '.join(FORMATS)}; choose a suffix or --format")


def write_batch(
    prepared: Prepared | ClusterPrepared,
    out: str,
    *,
    format: str | None = None,
    overwrite: bool = False,
    report: Path | None = None,
    page: Path | None = None,
    fail_fast: bool = False,
    shard: Shard | None = None,
    progress: Progress = SILENT,
) -> list[Outcome]:
    """Localize and write all clips; return what became of each.

    out: a file, `-`, or a folder (see `is_folder`), in which clips that are there already are skipped. Several
    processes that are given the same folder divide the clips among them.
    page: also draw all of them on one map page; not with a folder. shard: only its part of the clips, marked in files
    of several clips, which `merge` joins.
    Raises OutputError, DiskError; SettingError when the folder was filled with other settings.
    """
    check_out(out, format, overwrite, report, page)
    tasks = prepared.tasks
    prepared.tasks, marks = share_of(shard, tasks, lambda task: task.name)
    of_video = {task.video_id: marks[task.name] for task in prepared.tasks if marks}
    with Batch(report, fail_fast, marks) as batch:
        if is_folder(out):
            _fill_folder(prepared, Path(out), format or "geojson", overwrite, batch, progress)
        else:
            found = _Passing(prepared.run(batch, progress, out), whole=not is_stdio(out), keep=page is not None)
            first = next(found, None)
            if first is not None:  # else all failed, and there is nothing to write
                write_localizations(out, chain([first], found), format, of_video)
            if found.error is not None:
                raise found.error
            if page is not None and found.clips:
                write_map(page, found.clips, tiles=tiles_under(found.clips, prepared.gallery))
    return batch.outcomes


class _Passing(Iterator[Localization]):
    """Passes clips on, and keeps them for the map where one is wanted.

    whole: an error stops the writer, so that no file is written; else it ends the clips and waits in `error`, so that
    what stands on stdout by then is closed as its format wants.
    """

    def __init__(self, clips: Iterable[Localization], *, whole: bool, keep: bool) -> None:
        self._source, self._whole, self._keep = iter(clips), whole, keep
        self.clips: list[Localization] = []
        self.error: VgeoError | None = None

    def __next__(self) -> Localization:
        try:
            clip = next(self._source)
        except VgeoError as error:
            if self._whole:
                raise
            self.error = error
            raise StopIteration from error
        if self._keep:
            self.clips.append(clip)
        return clip


def _fill_folder(
    prepared: Prepared | ClusterPrepared, folder: Path, format: str, overwrite: bool, batch: Batch, progress: Progress
) -> None:
    targets = {task.video_id: folder / f"{file_name(task.video_id)}.{format}" for task in prepared.tasks}
    claims = Claims(folder, folder, overwrite)
    with claims.entering() as alone:
        facts = prepared.facts() | {"format": format}
        _same_settings(folder / SETTINGS, facts, overwrite, alone, list(targets.values()))
    with closing(claims):
        progress.start("localize", len(prepared.tasks), "clips")
        turns = Turns(
            prepared.tasks,
            claims,
            batch,
            key=lambda task: task.video_id,
            finished=lambda task: not overwrite and targets[task.video_id].exists(),
            progress=progress,
        )
        for turn, answer in prepared.answers(turns, progress):
            task, target = turn.one, targets[turn.one.video_id]
            with turns.work(turn, task.name) as item:
                item.outputs = [str(target)]
                if turn.finished:
                    item.skip("finished before")
                    progress.advance(1, task.video_id)
                else:
                    write_localizations(target, [answer(item)], format)
    say_skipped(batch.outcomes, "clips", "; --overwrite does them again")


def _same_settings(path: Path, facts: dict[str, Any], overwrite: bool, alone: bool, targets: list[Path]) -> None:
    """Refuse a folder that holds results made otherwise, or with `overwrite` clear it of them; note what these are.

    alone: no other process fills it.
    """
    if path.exists():
        before = parse_json(read_text(path, 2**20), path)
        found = differences(before, facts) if isinstance(before, dict) else ["unreadable notes"]
        if not found:
            return
        if not overwrite:
            raise SettingError(
                f"{path.parent}: was filled with other settings ({'; '.join(found)}); give another folder with --out, "
                "or --overwrite"
            )
        if not alone:
            raise BusyError(f"{path.parent}: other processes fill it with other settings; wait for them")
        for target in targets:  # so that an interrupted run does not leave old results under the new notes
            target.unlink(missing_ok=True)
    write_output(path, dump_json(facts, indent=2))
