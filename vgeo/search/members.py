"""Which tiles are in which region.

Shapes: R regions, M tiles of all regions in a row.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NONE = -1  # in place of a row or an id, where there are fewer than are asked for

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Members:
    """Which tiles are in which region; a tile may be in several, or in none."""

    first: Ints  # [R+1]
    row: Ints  # [M]; the tiles of region r are row[first[r]:first[r+1]], ascending

    def __len__(self) -> int:
        return len(self.first) - 1

    def rows_of(self, regions: Ints) -> Ints:
        """Rows of all tiles in some regions (NONE is no region), each once, ascending."""
        chosen = regions[regions >= 0].tolist()
        parts = [self.row[self.first[r] : self.first[r + 1]] for r in chosen]
        return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
