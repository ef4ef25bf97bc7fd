"""The outputs of shards, or of runs over different clips, joined into one: what an undivided run would have written.

Whatever the order in which they are given: parts of shards come in the order of the undivided run, others in that of
their first clip's name. Only one clip of each is in memory at a time, or of feature files everything but the features.
"""

import heapq
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import IO

from vgeo.errors import FormatError, InputError, OutputError, SettingError, UsageError
from vgeo.formats.frame_folder import SETTINGS_FILE
from vgeo.formats.pieces import Piece, Pieces, read_pieces
from vgeo.formats.shards import check_shards
from vgeo.formats.streams import atomic_write, check_output, is_stdio
from vgeo.formats.tracks import format_of
from vgeo.logs import SILENT, Progress
from vgeo.stages.merge_stores import merge_features, merge_folders
from vgeo.stages.merged import Merged
from vgeo.video.finding import natural_key

log = logging.getLogger(__name__)


def merge(
    inputs: Sequence[str],
    out: str,
    *,
    format: str | None = None,
    overwrite: bool = False,
    incomplete: bool = False,
    progress: Progress = SILENT,
) -> Merged:
    """Join feature files, tracks (geojson, geojsonl, gpx, kml, csv), scenes, reports or folders of frames.

    out: a file, `-` for what is text, or a folder for folders. format: of what has no suffix that tells. incomplete:
    join shards although some are missing.
    Raises SettingError that names the difference of files made otherwise, FormatError for a clip that two files hold
    with different content and for damaged files, UsageError for a shard that is missing or given twice, InputError,
    OutputError, DiskError.
    """
    if len(set(map(_real, inputs))) < len(inputs):
        raise UsageError(f"{next(p for p in inputs if [*map(_real, inputs)].count(_real(p)) > 1)}: is given twice")
    kinds = {path: _kind(path, format) for path in inputs}
    if not kinds:
        raise UsageError("nothing to merge: name the files that shards wrote")
    first = inputs[0]
    for path, kind in kinds.items():
        if kind != kinds[first]:
            raise UsageError(f"{path}: is {kind}, but {first} is {kinds[first]}; merge them apart")
        if _real(path) == _real(out):
            raise OutputError(f"{out}: is one of the inputs; choose another --out")
    if kinds[first] == "frames":
        return merge_folders(list(map(Path, inputs)), Path(out), overwrite, incomplete, progress)
    check_output(out, overwrite)
    if kinds[first] == "h5":
        if is_stdio(out):
            raise UsageError("-: HDF5 cannot be written to a stream; give a file name with --out")
        return merge_features(inputs, Path(out), incomplete, progress)
    return _merge_text(kinds[first], inputs, out, incomplete, progress)


def _real(path: str) -> str:
    return path if is_stdio(path) else os.path.realpath(path)


def _kind(path: str, format: str | None) -> str:
    if not is_stdio(path) and not Path(path).exists():
        raise InputError(f"{path}: no such file or folder")
    if not is_stdio(path) and Path(path).is_dir():
        if not (Path(path) / SETTINGS_FILE).is_file():
            raise InputError(f"{path}: no folder of extract-frames; tracks in folders, a file each, need no merging")
        return "frames"
    kind = format_of(path, None if format == "report" else format)
    kind = "report" if format == "report" or kind == "jsonl" else kind
    if kind not in ("h5", "report", "geojson", "geojsonl", "gpx", "kml", "csv"):
        raise UsageError(f"{path}: what is it? say with --format geojson, geojsonl, gpx, kml, csv or report")
    return kind


def _merge_text(kind: str, inputs: Sequence[str], out: str, incomplete: bool, progress: Progress) -> Merged:
    with ExitStack() as stack:
        files = {path: read_pieces(kind, iter(_opened(path, stack)), path) for path in inputs}
        _same_frames(files)
        sources = {path: _Source(path, kind, pieces.each) for path, pieces in files.items()}
        marks = {path: source.first.mark for path, source in sources.items() if source.first is not None}
        empty = [path for path in inputs if path not in marks]
        if empty and (kind != "report" or not marks):  # a shard without inputs reports nothing
            raise InputError(f"{empty[0]}: holds nothing to merge")
        shards = {path: None if mark is None else mark.shard for path, mark in marks.items()}
        counts = {path: mark.inputs for path, mark in marks.items() if mark is not None}
        divided = check_shards(shards, incomplete, counts)
        ordered = sorted(sources.values(), key=lambda source: source.rank)
        pieces = heapq.merge(*ordered, key=_place) if divided else chain.from_iterable(ordered)
        progress.start("merge", max(counts.values(), default=None), "clips")
        like = next(iter(files.values()))
        once = _Once(pieces, progress)
        texts = _texts(like, once)
        if is_stdio(out):
            for text in texts:
                sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
        else:
            with atomic_write(out) as file:
                file.writelines(texts)
    return Merged(len(inputs), once.count, once.twice)


class _Source(Iterable[tuple[str, Piece]]):
    """The pieces of a file, each with the file's name; the first is looked at before."""

    def __init__(self, path: str, kind: str, each: Iterator[Piece]) -> None:
        if kind == "report":  # shards that others helped with are out of order
            each = iter(sorted(each, key=lambda piece: piece.mark.place if piece.mark else 0))
        self._path, self._each = path, each
        self.first = next(each, None)

    @property
    def rank(self) -> list[tuple[int, int, str]]:
        """Where the file comes among files that are no shards."""
        return natural_key("" if self.first is None else self.first.name)

    def __iter__(self) -> Iterator[tuple[str, Piece]]:
        if self.first is not None:
            yield self._path, self.first
            yield from ((self._path, piece) for piece in self._each)


class _Once:
    """Passes on pieces, the same ones of two files once."""

    def __init__(self, pieces: Iterable[tuple[str, Piece]], progress: Progress) -> None:
        self._pieces, self._progress = pieces, progress
        self._seen: dict[str, tuple[bytes, str]] = {}
        self.count = self.twice = 0

    def __iter__(self) -> Iterator[bytes]:
        for path, piece in self._pieces:
            digest = sha256(piece.data).digest()
            before, where = self._seen.setdefault(piece.name, (digest, path))
            if before is digest:
                self.count += 1
                self._progress.advance(1, piece.name)
                yield piece.data
            elif before == digest:
                self.twice += 1
            else:
                raise FormatError(f"{piece.name}: {where} and {path} say different things of it; leave one of them out")


def _place(item: tuple[str, Piece]) -> int:
    path, piece = item
    if piece.mark is None:
        raise FormatError(f"{path}: {piece.name} is of no shard, as others in it are; make the file again")
    return piece.mark.place


def _texts(like: Pieces, each: Iterable[bytes]) -> Iterator[bytes]:
    yield like.head
    between = b""
    for data in each:
        yield between + data
        between = like.between
    yield like.tail


def _same_frames(files: Mapping[str, Pieces]) -> None:
    (first, like), *others = files.items()
    for path, pieces in others:
        if pieces.head != like.head:
            raise SettingError(f"{path} and {first} begin differently; make them by one version, with the same options")


def _opened(path: str, stack: ExitStack) -> IO[bytes]:
    if is_stdio(path):
        return sys.stdin.buffer
    try:
        return stack.enter_context(open(path, "rb"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
