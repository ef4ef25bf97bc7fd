"""A video file as a source of frames, decoded in this very process; see `isolated` for what users get."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from vgeo.records import Floats
from vgeo.video.decode import Video
from vgeo.video.pixels import Pixels, Shape
from vgeo.video.telemetry import Fixes, read_telemetry


class VideoSource:
    """A video file, decoded by PyAV, or by decord for comparison. Raises what `Video` does."""

    presampled = False

    def __init__(self, path: Path, decoder: str) -> None:
        self._video, self._decoder = Video(path), decoder
        table, info = self._video.table, self._video.info
        self.time_s: Floats = table.time_s
        self.duration_s = table.duration_s
        self.frame_index = np.arange(len(table), dtype=np.int64)
        self.declared: int | None = info.declared_frames or len(table)
        self.start_utc: datetime | None = info.start_utc
        self.labels: dict[str, str] = {}

    def carried(self) -> tuple[Fixes | None, str]:
        """GoPro telemetry."""
        return read_telemetry(self._video.path, self._video.first_frame_s)

    def images(self, rows: Sequence[int], shape: Shape) -> Iterator[tuple[int, Pixels]]:
        """Decode the wanted rows."""
        if self._decoder == "decord":
            from vgeo.video.decord_decoder import images

            return images(self._video.path, rows, shape, self._video.info)
        return self._video.images(rows, shape)

    def remarks(self) -> list[str]:
        """Damage, and a header that claims other frames than there are."""
        tally, table, declared = self._video.tally, self._video.table, self._video.info.declared_frames
        words = [self._video.remark] if self._video.remark else []
        if declared is not None and declared != self._video.packets:
            words.append(f"the container declares {declared} frames, {self._video.packets} are there")
        elif declared is not None and declared != len(table):
            words.append(f"the container declares {declared} frames, {len(table)} can be shown")
        if tally.damaged:
            words.append(f"{len(tally.damaged)} damaged packets skipped")
        if tally.lost_frames:
            words.append(f"{tally.lost_frames} wanted frames could not be decoded")
        if doubtful := self._video.doubtful_frames:
            words.append(f"{doubtful} frames follow damage and may be wrong")
        if not table.by_packets:
            words.append("timestamps are missing or run backwards, times were learnt by decoding everything")
        return words

    def close(self) -> None:
        """Close the file."""
        self._video.close()
