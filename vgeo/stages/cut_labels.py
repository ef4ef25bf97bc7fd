"""The labels of clips that long videos are cut into: a table names the videos, or single clips of them."""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import PurePath

from vgeo.errors import InputError
from vgeo.formats.place_labels import labels_by_clip
from vgeo.stages.clip_labels import join_ids

log = logging.getLogger(__name__)

_CLIP = re.compile(r"(.+)_\d{3,}")  # tokyo_003, a clip of tokyo


class CutLabels:
    """What a table says of long videos and of their clips: tokyo, and tokyo_003 of it."""

    def __init__(self, table: str | os.PathLike[str], video_ids: Sequence[str]) -> None:
        """Read the table. Raises InputError where it names none of the videos and no clip of one, FormatError."""
        self._rows = labels_by_clip(table)
        self._of_video = dict(join_ids(video_ids, list(self._rows)))
        self._of_clips: dict[str, list[str]] = {}
        for name in self._rows:
            if match := _CLIP.fullmatch(PurePath(name).name):
                self._of_clips.setdefault(match[1], []).append(name)
        missing = [name for name in video_ids if name not in self._of_video and name not in self._of_clips]
        if missing and len(missing) == len(video_ids):
            first = next(iter(self._rows))
            raise InputError(f"{table}: names none of the videos ({missing[0]} first), but {first} first")
        if missing:
            log.warning("%s: does not name %d of %d videos, %s first", table, len(missing), len(video_ids), missing[0])

    def of_clips(self, video_id: str, clip_ids: Sequence[str]) -> list[dict[str, str]]:
        """What it says of each clip of a video: in a row of the clip's own, over what the video's row says."""
        whole = self._rows.get(self._of_video.get(video_id, ""), {})
        own = dict(join_ids(clip_ids, self._of_clips.get(video_id, [])))
        return [{**whole, **self._rows.get(own.get(name, ""), {})} for name in clip_ids]
