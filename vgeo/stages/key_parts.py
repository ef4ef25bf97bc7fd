"""Keys while they are made: some rows a file, each complete under its name, so that a kill loses one of them at most.

Shapes: N rows of a part, E embedding width.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vgeo.errors import VgeoError
from vgeo.formats.streams import atomic_write

log = logging.getLogger(__name__)

# At the published encoder's 27 GMACs a tile, minutes on a CPU. A multiple of the batches: who goes on from some parts
# embeds the others in the same batches, so their bits are the same.
PART_ROWS = 256


class KeyParts:
    """A folder of parts: 0.npy holds the keys of the first rows, 1.npy those of the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said = False

    def read(self, rows: int) -> dict[int, Tensor]:
        """The parts that are there, by number, of keys of so many rows; others are as if they were not."""
        found: dict[int, Tensor] = {}
        for number in range(parts_of(rows)):
            try:
                array = np.load(self._file(number), allow_pickle=False)
            except (OSError, ValueError, EOFError):
                continue
            if array.dtype == np.float32 and array.ndim == 2 and len(array) == rows_of(number, rows):
                found[number] = torch.from_numpy(array)
        return found if len({keys.shape[1] for keys in found.values()}) <= 1 else {}

    def write(self, number: int, keys_NE: Tensor) -> None:
        """Keep a part, where that is possible; says once where it is not."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._file(number)) as file:
                np.save(file, keys_NE.numpy(), allow_pickle=False)
        except (OSError, VgeoError) as error:
            if not self._said:
                log.warning("keys are not kept while they are made: %s", error)
            self._said = True

    def remove(self) -> None:
        """Remove all parts."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, number: int) -> Path:
        return self._folder / f"{number}.npy"


def parts_of(rows: int) -> int:
    """How many parts so many rows make."""
    return -(-rows // PART_ROWS)


def rows_of(number: int, rows: int) -> int:
    """How many of all rows a part holds."""
    return min(PART_ROWS, rows - number * PART_ROWS)


def cut(batches: Iterable[Tensor], sizes: Iterable[int]) -> Iterator[Tensor]:
    """Cut what comes in batches of any size into pieces of these sizes."""
    source, waiting, held = iter(batches), list[Tensor](), 0
    for size in sizes:
        while held < size:
            waiting.append(next(source))
            held += len(waiting[-1])
        joined = torch.cat(waiting)
        yield joined[:size]
        waiting, held = [joined[size:]], held - size
