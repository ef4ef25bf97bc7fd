"""A list of chosen clips, as CSV: video_id, file, split, city. Files are named from the list's own folder."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vgeo.errors import FormatError
from vgeo.formats.streams import is_stdio, read_text, write_output
from vgeo.formats.tables import guarded, unguarded

_COLUMNS = ("video_id", "file", "split", "city")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedClip:
    """One line of a list."""

    video_id: str
    file: Path | None = None  # the feature file it is in; None where the list does not say
    split: str = ""
    city: str = ""


def write_clip_list(path: str | os.PathLike[str], clips: Sequence[ListedClip]) -> None:
    """Write a list, to stdout for `-`, from where files are named then. Raises OutputError, DiskError."""
    base = _base(path)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    names = {file: os.path.relpath(file.resolve(), base) for file in {clip.file for clip in clips} if file is not None}
    for clip in clips:
        file = "" if clip.file is None else names[clip.file]
        rows.writerow([guarded(cell) for cell in (clip.video_id, file, clip.split, clip.city)])
    write_output(path, text.getvalue())


def read_clip_list(path: str | os.PathLike[str]) -> list[ListedClip]:
    """Read a list; only the column video_id must be there. Raises InputError, and FormatError."""
    base = _base(path)
    rows = csv.reader(io.StringIO(read_text(path)))
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        if "video_id" not in header:
            raise FormatError(f"{path}: the first line names no column video_id; make a list with 'vgeo sample-clips'")
        cells = []
        for row in rows:
            cells += [dict(zip(header, map(unguarded, row), strict=False))] if row else []
            if row and not cells[-1].get("video_id"):
                raise FormatError(f"{path}: line {rows.line_num} names no video_id")
    except csv.Error as error:
        raise FormatError(f"{path}: not a table ({error})") from error
    return [
        ListedClip(
            video_id=row["video_id"],
            file=(base / row["file"]).resolve() if row.get("file") else None,
            split=row.get("split", ""),
            city=row.get("city", ""),
        )
        for row in cells
    ]


def _base(path: str | os.PathLike[str]) -> Path:
    return Path.cwd() if is_stdio(path) else Path(path).resolve().parent
