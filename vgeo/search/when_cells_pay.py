"""Whether a gallery is searched by cells: not before they pay, and not where they do not help.

Measured with 300,000 keys of 512 dimensions, in processor time: cells of GeoCLIP's released encoder take as long to
make as some 200 queries to search for in all keys with their probabilities, or some 600 without; those of a model that
tells places 10 m apart, which fit worse and are divided again and again, five times as long. They are made after 256
queries, so that one clip never waits for them. A gallery of a tenth of that size has too few of them to save much (3
times), and its full search takes milliseconds.

For probabilities they are not made at all where these are so even that nearly every key counts: most keys score about 0
or above, so that all of them together weigh more than can be forgone unless scale * (best score) exceeds the logarithm
of their number by that of the share (15 nats). The models that were trained on single cities have scales of 14 to 16,
far below that; the released GeoCLIP, whose scale is 40, comes near it.
"""

import logging
import math
import time

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vgeo.search.cell_search import FORGONE, CellSearch, Counts
from vgeo.search.cells import build_cells

log = logging.getLogger(__name__)

LARGE = 100_000  # keys
PAYS = 256  # queries
_TRIED = 64  # queries after which it shows whether cells help


class WhenCellsPay:
    """Makes the cells of a gallery when it is time, and watches whether they help.

    keys_GE: normalised. Keys on an accelerator are searched there, all of them.
    """

    def __init__(self, keys_GE: Tensor, latlon_deg: NDArray[np.float64]) -> None:
        self._keys_GE, self._latlon_deg = keys_GE, latlon_deg
        self._seen = 0
        self._sharp = 0  # of them, those that are as sharp as cells need
        self._told = 0
        self._cells: CellSearch | None = None

    def for_best(self, queries: int) -> CellSearch | None:
        """What finds the best keys of so many queries; None: the search of all keys. Raises ValueError as the cells."""
        cells = self._when_it_is_time(queries)
        return cells if cells is not None and _helps(cells.best) else None

    def for_totals(self, queries: int) -> CellSearch | None:
        """What finds the best keys and the probabilities; else as `for_best`."""
        if self._sharp < self._told / 2:
            self._seen += queries
            return None
        cells = self._when_it_is_time(queries)
        return cells if cells is not None and _helps(cells.best) and _helps(cells.totals) else None

    def tell(self, nats_N: Tensor) -> None:
        """Say how high some queries' best keys score, times the scale."""
        self._sharp += int((nats_N > math.log(len(self._keys_GE) / FORGONE)).sum())
        self._told += len(nats_N)

    def _when_it_is_time(self, queries: int) -> CellSearch | None:
        enough, self._seen = self._seen >= PAYS, self._seen + queries
        if self._cells is None and enough and len(self._keys_GE) >= LARGE and self._keys_GE.device.type == "cpu":
            start = time.perf_counter()
            cells = build_cells(self._keys_GE, self._latlon_deg)
            log.debug("%d keys in %d cells, made in %.1f s", len(cells.row_G), len(cells), time.perf_counter() - start)
            self._cells = CellSearch(cells, self._keys_GE, self._latlon_deg)
        return self._cells


def _helps(counts: Counts) -> bool:
    """Whether most queries were answered from cells, as far as that is known."""
    return counts.queries < _TRIED or counts.left <= counts.queries / 2
