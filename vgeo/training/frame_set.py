"""Pictures on disk as training data: which clip has which, where they were taken, and what is known of the clips.

Shapes: V clips, N frames of all clips in a row.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameSet:
    """Clips of pictures, with what `training.data.split` reads of a feature file. No picture is opened or looked for.

    Millions fit in memory: clips whose pictures are named alike, 000000.jpg and so on, hold one tuple of names.
    """

    path: Path
    video_ids: list[str]
    first_row: NDArray[np.int64]  # [V+1]; rows of clip v are first_row[v]:first_row[v+1]
    latlon_deg: NDArray[np.float64]  # [N, 2], NaN where unknown
    labels: dict[str, list[str]]  # name -> [V]; "" where unknown
    folders: list[str]  # [V]
    spacing_s: float | None  # between the pictures of a clip, in the median; None: nobody says when they were taken
    names: list[tuple[str, ...]]  # [V] of a clip's pictures, in order, from its folder

    def __len__(self) -> int:
        return len(self.latlon_deg)

    def picture(self, row: int) -> Path:
        """Where the picture of a row lies."""
        clip = int(np.searchsorted(self.first_row, row, side="right")) - 1
        return Path(self.folders[clip], self.names[clip][row - int(self.first_row[clip])])
