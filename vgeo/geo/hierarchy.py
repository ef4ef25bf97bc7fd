"""Places at several levels and their ids, as CityGuessr numbers them.

In the published mapping (CityGuessr, misc/hierarchy_mappings.json) the cities are in the order of their names, and in
all three steps up - city to state, state to country, country to continent - the coarser classes are numbered as they
first appear when the finer ones are walked in order. So a table of names gives the ids, and back. A class is a name
together with what it lies in: Springfield in Illinois and Springfield in Missouri are two cities.

Shapes: L levels, finest first; C_l classes of a level; N rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError

Ids = NDArray[np.int64]
Up = tuple[Ids, ...]  # [L-1][C_l] for each class of a level, the id of the one that it lies in


@dataclass(frozen=True, slots=True, eq=False)
class Hierarchy:
    """The classes of each level by id, and what each lies in."""

    levels: tuple[str, ...]  # [L]
    names: tuple[tuple[str, ...], ...]  # [L][C_l]
    up: Up

    def chains(self, level: int = 0) -> Ids:
        """[C_l, L - l] for each class of a level, the finest by default, its id and those of what it lies in."""
        columns = [np.arange(len(self.names[level]))]
        for up in self.up[level:]:
            columns.append(up[columns[-1]])
        return np.stack(columns, axis=-1)

    def places(self) -> list[tuple[str, ...]]:
        """[C_0] for each class of the finest level, its name and those of what it lies in."""
        return [tuple(names[i] for names, i in zip(self.names, row, strict=True)) for row in self.chains()]

    def empty(self, found: Iterable[int]) -> list[str]:
        """A line for each level of which no row has some classes; `found`: ids of the finest level that rows have."""
        chains = self.chains()
        rows = chains[np.isin(chains[:, 0], list(found))]
        lines = []
        for level, title in enumerate(self.levels):
            missing = np.setdiff1d(np.arange(len(self.names[level])), rows[:, level])
            if len(missing):
                name, number = self.names[level][missing[0]], int(missing[0])
                said = name if name == str(number) else f"{number} ({name})"
                count = len(self.names[level])
                lines.append(f"no video is of {len(missing)} of {count} classes of {title}, {said} first")
        return lines


def number_places(places: Iterable[Sequence[str]], levels: Sequence[str]) -> Hierarchy:
    """Number the places, each a name for every level, "" where a level is not known; repeated ones count once.

    Levels that no place names are left out. Names are sorted by code point, as the published ids are by plain sorting;
    names that are ids, by number.
    Raises FormatError for a place that lacks a level which others have, or when there is none.
    """
    rows = set(map(tuple, places))
    used = [level for level in range(len(levels)) if any(row[level] for row in rows)]
    if not used:
        raise FormatError("names no places")
    finer = sorted({tuple(row[level] for level in used) for row in rows}, key=_order)
    titles = tuple(levels[level] for level in used)
    for row in finer:
        if "" in row:
            known = ", ".join(name for name in row if name)
            missing = titles[row.index("")]
            raise FormatError(f"{known}: no {missing}, which other places have; name it, or leave out the column")
    names, steps = [tuple(row[0] for row in finer)], []
    while len(finer[0]) > 1:
        coarser = list(dict.fromkeys(row[1:] for row in finer))
        number = {row: i for i, row in enumerate(coarser)}
        steps.append(np.array([number[row[1:]] for row in finer], np.int64))
        names.append(tuple(row[0] for row in coarser))
        finer = coarser
    return Hierarchy(titles, tuple(names), tuple(steps))


def _order(row: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """By code point; of names that are ids, by number."""
    return tuple((int(name), "") if name.isdecimal() else (-1, name) for name in row)


def namesakes(places: Iterable[Sequence[str]], levels: Sequence[str]) -> list[str]:
    """A line for each name that several classes of a level have, as of a city in two states.

    places: names for every level, "" where a level is not known.
    """
    rows, lines = sorted(set(map(tuple, places))), list[str]()
    for level, title in enumerate(levels[:-1]):
        where: dict[str, list[str]] = {}
        for name, *above in dict.fromkeys(row[level:] for row in rows if row[level]):
            where.setdefault(name, []).append(", ".join(filter(None, above)) or "nothing that is named")
        lines += [
            f"{title} {name} is in {' and in '.join(found)}, and counts as {len(found)}"
            for name, found in where.items()
            if len(found) > 1
        ]
    return lines


def unnamed(up: Up, levels: Sequence[str]) -> Hierarchy:
    """A hierarchy whose names are not known: they are the ids as text."""
    counts = [len(step) for step in up] + [int(up[-1].max()) + 1]
    return Hierarchy(tuple(levels), tuple(tuple(map(str, range(count))) for count in counts), up)


def parse_mapping(value: Any, levels: Sequence[str]) -> Up:
    """Read the published form: a list of dicts from id, as text, to id, one for each step up. Raises FormatError."""
    steps = list(pairwise(levels))
    if not isinstance(value, list) or len(value) != len(steps) or not all(isinstance(step, dict) for step in value):
        said = ", ".join(f"{finer} to {coarser}" for finer, coarser in steps)
        raise FormatError(f"not a list of {len(steps)} dictionaries ({said})")
    up = tuple(_step(step, *titles) for step, titles in zip(value, steps, strict=True))
    for level, (step, (_, coarser)) in enumerate(zip(up, steps, strict=True)):
        known = np.unique(step)
        count = len(up[level + 1]) if level + 1 < len(up) else int(known[-1]) + 1
        if known[-1] >= count:
            raise FormatError(f"{coarser} {known[-1]} is not in it, only {_span(count)} are")
        if empty := sorted(set(range(count)) - set(known.tolist())):
            raise FormatError(f"nothing lies in {coarser} {empty[0]}")
    return up


def _step(step: dict[str, Any], finer: str, coarser: str) -> Ids:
    """One dictionary as an array. Raises FormatError."""
    found = [step.get(str(i)) for i in range(len(step))]
    if not step or None in found:
        missing = found.index(None) if None in found else 0
        raise FormatError(f"of {finer} to {coarser}, {finer} {missing} is missing; ids are 0, 1, 2, ...")
    if bad := [x for x in found if isinstance(x, bool) or not isinstance(x, int) or not 0 <= x < len(step)]:
        raise FormatError(f"{bad[0]!r} is no id of a {coarser}")
    return np.array(found, np.int64)


def first_conflict(
    ids: Ids, levels: Sequence[str], up: Up | None = None, by: str = "earlier lines"
) -> tuple[int, str] | None:
    """The first row of ids [N, L] that does not fit `up`, or without it earlier rows, and why; None where all fit.

    by: what `up` was read from.
    """
    conflicts = [
        found
        for level in range(len(levels) - 1)
        for step in [None if up is None else up[level]]
        if (found := _conflict(ids[:, level], ids[:, level + 1], levels[level : level + 2], step, by))
    ]
    return min(conflicts, default=None)


def _conflict(finer: Ids, coarser: Ids, titles: Sequence[str], step: Ids | None, by: str) -> tuple[int, str] | None:
    if step is None:
        _, first, of = np.unique(finer, return_index=True, return_inverse=True)
        true = coarser[first][of.reshape(-1)]
    else:
        unknown = np.flatnonzero(finer >= len(step))
        if len(unknown):
            row = int(unknown[0])
            return row, f"{titles[0]} {finer[row]} is unknown, {by} names {_span(len(step))}"
        true = step[finer]
    wrong = np.flatnonzero(coarser != true)
    if not len(wrong):
        return None
    row = int(wrong[0])
    return row, f"{titles[0]} {finer[row]} is in {titles[1]} {coarser[row]}, by {by} in {true[row]}"


def difference(named: Hierarchy, up: Up) -> str:
    """How a hierarchy of names differs from a mapping, in words; "" when it does not."""
    for level, title in enumerate(named.levels[:-1]):
        ours, theirs = named.up[level], up[level]
        if len(ours) != len(theirs):
            return f"{len(ours)} classes of {title}, not {len(theirs)}"
        wrong = np.flatnonzero(ours != theirs)
        if len(wrong):
            i = int(wrong[0])
            coarser = named.levels[level + 1]
            return f"{title} {i} ({named.names[level][i]}) is in {coarser} {ours[i]}, not in {theirs[i]}"
    return ""


def _span(count: int) -> str:
    return f"0 to {count - 1}"
