"""clips.csv: the folder and the place of each clip, as the data set layout cityguessr68k reads them."""

import csv
import hashlib
import io
import logging
from collections.abc import Iterable
from pathlib import Path

from vgeo.formats.streams import write_output
from vgeo.formats.tables import guarded
from vgeo.records import LEVELS, FrameRecord

log = logging.getLogger(__name__)

CLIPS_FILE = "clips.csv"
_MARK = ".clips.sha256"  # of what was written last, and before: tells whether somebody changed it


def update_clip_table(folder: Path, records: Iterable[FrameRecord]) -> None:
    """Write clips.csv for `records`; one that somebody made or changed by hand is kept, with a warning.

    Without a clip with a city there is none. Raises OutputError, DiskError.
    """
    table, file, mark = format_clip_table(records), folder / CLIPS_FILE, folder / _MARK
    if file.exists():
        now = file.read_bytes()
        if now == table.encode():
            return
        if not mark.is_file() or hashlib.sha256(now).hexdigest() not in mark.read_text().split():
            log.warning("%s: was made or changed by hand and is kept; --labels %s takes the places from it", file, file)
            return
    if table:
        # Both are ours: the next line may fail, or the process be killed before it.
        before = [hashlib.sha256(file.read_bytes()).hexdigest()] if file.exists() else []
        write_output(mark, "\n".join([hashlib.sha256(table.encode()).hexdigest(), *before]))
        write_output(file, table)
    else:
        file.unlink(missing_ok=True)
        mark.unlink(missing_ok=True)


def format_clip_table(records: Iterable[FrameRecord]) -> str:
    """A line for each clip with a city: path, city, state, country, continent, split, source; "" where none has one.

    records: with paths `folder/picture`. The column split is there where every clip has one, source where any has.
    """
    clips = {record.path.rpartition("/")[0]: record.labels for record in records if record.labels.get("city")}
    if not clips:
        return ""
    columns = list(LEVELS)
    columns += ["split"] if all(labels.get("split") for labels in clips.values()) else []
    columns += ["source"] if any(labels.get("source") for labels in clips.values()) else []
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", *columns])
    for folder, labels in clips.items():
        rows.writerow([guarded(cell) for cell in (folder, *(labels.get(name, "") for name in columns))])
    return text.getvalue()
