"""The table that says in which of the 16 groups each of the 365 categories of Places365 is, as its authors publish it.

CSV: two header rows; then for each category, in the order of the networks' outputs, its name, 3 flags (0 or 1) of
level 1 and 16 of level 2. A category may be in several groups.
"""

import csv
import io
import logging
import os

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError
from vgeo.formats.scenes import AREAS, GROUPS
from vgeo.formats.streams import read_text

log = logging.getLogger(__name__)

CATEGORIES = 365
_HEADER_ROWS = 2
_FIRST = 1 + len(AREAS)  # column of level 2


def read_scene_groups(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read how much of each category belongs to each group: [365, 16], whose rows sum to 1.

    Groups share a category equally, as ISNs' published code has it. Raises InputError, FormatError naming the line.
    """
    rows = csv.reader(io.StringIO(read_text(path, 2**24)))
    names, flags = list[str](), list[list[float]]()
    try:
        for number, cells in enumerate(rows):
            if number < _HEADER_ROWS or not any(cell.strip() for cell in cells):
                continue
            names.append(cells[0].strip().strip("'\""))
            flags.append(_flags(cells, f"{path} line {rows.line_num}"))
    except csv.Error as error:
        raise FormatError(f"{path}: not a table ({error})") from error
    if len(names) != CATEGORIES:
        raise FormatError(f"{path}: {len(names)} categories after {_HEADER_ROWS} header rows, not {CATEGORIES}")
    if len(set(names)) < CATEGORIES:
        raise FormatError(f"{path}: names {next(name for name in names if names.count(name) > 1)} twice")
    if names != sorted(names):
        first = next(name for name, rank in zip(names, sorted(names), strict=True) if name != rank)
        log.warning("%s: its rows are not in alphabetical order, as outputs of Places365 are: see %s", path, first)
    groups = np.array(flags, np.float32)
    return groups / groups.sum(axis=1, keepdims=True)


def _flags(cells: list[str], here: str) -> list[float]:
    level2 = [cell.strip() for cell in cells[_FIRST : _FIRST + len(GROUPS)]]
    if len(level2) < len(GROUPS) or not all(cell in ("0", "1") for cell in level2):
        raise FormatError(
            f"{here}: not a category, {len(AREAS)} and {len(GROUPS)} flags of 0 or 1; is it the hierarchy of Places365?"
        )
    if "1" not in level2:
        raise FormatError(f"{here}: {cells[0].strip()} is in no group")
    return [float(cell) for cell in level2]
