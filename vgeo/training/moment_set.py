"""Seconds of videos as training data: when, where, and which tile shows the place from above.

Shapes: V videos, M moments of all of them in a row, N pictures of all of them in a row.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MomentSet:
    """What `training.data.split` reads of a feature file, with a row for each whole second whose place is known.

    GAMa (ECCV 2022, sec. 3) calls the clip that begins there, and the tile of the place, a pair.
    """

    path: Path
    video_ids: list[str]  # [V]
    first_row: Ints  # [V+1]; moments of video v are first_row[v]:first_row[v+1]
    latlon_deg: NDArray[np.float64]  # [M, 2]
    labels: dict[str, list[str]]  # name -> [V]; "" where unknown
    time_s: NDArray[np.float64]  # [M] from the start of the video
    tile_M: Ints  # row of the gallery of tiles; -1 where none of its tiles shows the place
    first_picture: Ints  # [V+1]
    picture_time_s: NDArray[np.float64]  # [N] rising in each video
    folders: list[str]  # [V]
    names: list[tuple[str, ...]]  # [V] of a video's pictures, in order, from its folder

    def __len__(self) -> int:
        return len(self.latlon_deg)

    def picture(self, number: int) -> Path:
        """Where a picture lies."""
        video = int(np.searchsorted(self.first_picture, number, side="right")) - 1
        return Path(self.folders[video], self.names[video][number - int(self.first_picture[video])])
