"""Mapillary Street-Level Sequences (Warburg et al., CVPR 2020): pictures of 30 cities, in sequences as they were taken.

    <root>/{train_val,test}/<city>/{query,database}/seq_info.csv, raw.csv, images/<key>.jpg

What the authors of CityGuessr and VidTAG did is told in a sentence (VidTAG, section 4.1: query and database together,
split 80:20 by the procedure of CityGuessr), so the recipe is ours: flat pictures only, grouped by sequence, in the
order of frame numbers, sequences of at least 16 frames, 80:20 by sequence within each city. The test cities come
without positions. A split by sequence leaves the same streets on both sides, since queries were chosen to overlap the
database; `Recipe.apart_m` keeps them apart.

Shapes: N pictures of a city, P pieces (sequences, or parts of them between leaps of the frame number), G sequences.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgeo.datasets._msls_cities import CITIES, labels_of
from vgeo.datasets._msls_tables import LISTING, PICTURES, Pictures, read_pictures
from vgeo.datasets._splits import NEITHER, VAL, Sides, apart, drawn
from vgeo.datasets.base import Layout, Part, Recipe, Sequences
from vgeo.errors import InputError, UsageError
from vgeo.geo.city_names import city_key
from vgeo.records import format_utc

_PLACED, _UNPLACED = "train_val", "test"
_SUBSETS = ("query", "database")
_LATEST_MS = 4e12  # the year 2096: beyond it a capture time is no time


@dataclass(frozen=True, slots=True, eq=False)
class _City:
    """Pictures of both subsets, sorted by sequence and frame number, and how they are cut into pieces."""

    subset: NDArray[np.int64]  # [N]
    key: NDArray[np.object_]  # [N]
    frame: NDArray[np.int64]  # [N]
    latlon_deg: NDArray[np.float64]  # [N, 2]
    captured_ms: NDArray[np.float64]  # [N]
    first: NDArray[np.int64]  # [P+1]
    sequence: list[str]  # [P] key of the sequence that a piece is of
    piece: list[int]  # [P] its number in the sequence, 0 when it is whole

    def group(self) -> NDArray[np.int64]:
        """[P] number of the sequence; one that is in both subsets, or in pieces, is one."""
        return np.unique(np.array(self.sequence, str), return_inverse=True)[1].reshape(-1)


class Msls(Layout):
    """The data set as Mapillary hands it out."""

    title = "msls"
    shortest = 16  # VidTAG, appendix C: sequences of 16 to 494 frames; CityGuessr, Table 1: 15

    def __init__(self, root: Path, recipe: Recipe) -> None:
        super().__init__(root, recipe)
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; name the one that holds {_PLACED}/ and {_UNPLACED}/")
        found = {half: _folders(root / half) for half in (_PLACED, _UNPLACED)}
        if not any(found.values()):
            raise InputError(f"{root}: not a folder of MSLS, it holds no {_PLACED}/<city>/; name the one that does")
        there = [city for cities in found.values() for city in cities]
        named = {city_key(city) for city in recipe.cities}
        if unknown := [city for city in recipe.cities if city_key(city) not in {city_key(name) for name in there}]:
            raise UsageError(f"--city {unknown[0]}: not in {root}, which holds {', '.join(there)}")
        wanted = [_UNPLACED, _PLACED] if named or recipe.with_test else [_PLACED]
        self._half = {c: half for half in wanted for c in found[half] if not named or city_key(c) in named}
        if not self._half:
            raise InputError(f"{root}: holds only test cities, which have no positions; --with-test reads them")

    def parts(self) -> list[str]:
        """The cities' folders, by name."""
        return sorted(self._half)

    def published(self) -> str:
        """Counts of the two papers that made sequences of this data set."""
        return (
            f"{self.title}: the papers count 14,965 sequences of 15 frames or more in {len(CITIES)} cities (CityGuessr,"
            " Table 1) and, after a filtering that they do not describe, 11,320 = 9,049 train + 2,271 val (CityGuessr,"
            " section 6; VidTAG follows it), so these may differ"
        )

    def read(self, part: str) -> Part:
        """Read a city. Raises InputError, FormatError."""
        folder = self.root / self._half[part] / part
        subsets = [name for name in _SUBSETS if (folder / name).is_dir()]
        if not subsets:
            raise InputError(f"{folder}: holds neither query/ nor database/; unpack the city again")
        tables = [read_pictures(folder / name, self._half[part] == _PLACED) for name in subsets]
        left_out = sum((table.left_out for table in tables), Counter[str]())
        city = _cut(tables, self.recipe.split_gaps, left_out)
        long = np.diff(city.first) >= self.min_frames
        left_out[f"sequences of fewer than {self.min_frames} frames"] += int((~long).sum())
        sides = self._split(city, np.flatnonzero(long), part, left_out)
        made = _sequences(city, sides, part, [folder / name for name in subsets], subsets)
        return Part(name=part, sequences=made, rows=sum(table.rows for table in tables), left_out=+left_out)

    def _split(self, city: _City, pieces: NDArray[np.int64], name: str, left_out: Counter[str]) -> dict[int, str]:
        """Piece -> train or val, for those that are kept. Pieces of one sequence are on one side."""
        groups, group = np.unique(city.group()[pieces], return_inverse=True)
        group = group.reshape(-1)
        if self.recipe.apart_m is None:
            found = drawn(len(groups), name, self.recipe.seed)
        else:
            rows = [np.arange(city.first[piece], city.first[piece + 1]) for piece in pieces]
            owner = np.repeat(group, [len(row) for row in rows])
            latlon_deg = city.latlon_deg[np.concatenate(rows)] if rows else np.zeros((0, 2))
            found = apart(owner, latlon_deg, name, self.recipe.seed, self.recipe.apart_m)
            _count(found, group, self.recipe.apart_m, left_out)
        side = found.side[group] if len(group) else found.side
        return {
            int(piece): "val" if s == VAL else "train" for piece, s in zip(pieces, side, strict=True) if s != NEITHER
        }


LAYOUT = Msls


def _folders(half: Path) -> list[str]:
    return sorted(entry.name for entry in half.iterdir() if entry.is_dir()) if half.is_dir() else []


def _count(found: Sides, group: NDArray[np.int64], apart_m: float, left_out: Counter[str]) -> None:
    left_out[f"sequences within {apart_m:g} m of the other side"] += found.too_near
    left_out["sequences without a position"] += found.unplaced


def _cut(tables: list[Pictures], split_gaps: bool, left_out: Counter[str]) -> _City:
    """Put the subsets together and cut them into sequences. A picture that is in both stays in the first."""
    subset = np.repeat(np.arange(len(tables)), [len(table.key) for table in tables])
    key, sequence = (np.concatenate([getattr(t, name) for t in tables]) for name in ("key", "sequence"))
    _, once = np.unique(key.astype(str), return_index=True)
    left_out["in query and database"] += len(key) - len(once)
    frame = np.concatenate([table.frame for table in tables])
    captured_ms = np.concatenate([table.captured_ms for table in tables])
    names, number = np.unique(sequence.astype(str), return_inverse=True)
    number = number.reshape(-1)
    order = np.sort(once)
    order = order[np.lexsort((captured_ms[order], frame[order], number[order], subset[order]))]
    subset, frame, number = subset[order], frame[order], number[order]
    other = (np.diff(number) != 0) | (np.diff(subset) != 0)
    leap = other | (np.diff(frame) > 1) if split_gaps else other
    starts = np.concatenate([[0], np.flatnonzero(leap) + 1]) if len(order) else np.zeros(0, np.int64)
    first = np.concatenate([starts, [len(order)]]).astype(np.int64)
    return _City(
        subset=subset,
        key=key[order],
        frame=frame,
        latlon_deg=np.concatenate([table.latlon_deg for table in tables])[order],
        captured_ms=captured_ms[order],
        first=first,
        sequence=[str(names[number[row]]) for row in starts],
        piece=_piece_numbers(starts, other),
    )


def _piece_numbers(starts: NDArray[np.int64], other: NDArray[np.bool_]) -> list[int]:
    """1, 2, ... for the pieces of a sequence that was cut; 0 for one that was not."""
    begins = np.array([row == 0 or other[row - 1] for row in starts], bool)
    of = np.cumsum(begins)
    total = np.bincount(of) if len(of) else of
    return [0 if total[sequence] == 1 else int(i - np.searchsorted(of, sequence) + 1) for i, sequence in enumerate(of)]


def _sequences(city: _City, sides: dict[int, str], name: str, folders: list[Path], subsets: list[str]) -> Sequences:
    """The pieces that are kept, as the rest of the program knows sequences."""
    ids, listing, labels, start_utc, spans, times = [], [], [], [], [], [np.zeros(0)]
    for piece, side in sides.items():
        span = slice(int(city.first[piece]), int(city.first[piece + 1]))
        which = int(city.subset[span.start])
        number = f".{city.piece[piece]}" if city.piece[piece] else ""  # keys have no full stop in them
        ids.append(f"{name}_{subsets[which]}_{city.sequence[piece]}{number}")
        listing.append(folders[which] / LISTING)
        labels.append({**labels_of(name), "split": side})
        time_s, start = _times(city.captured_ms[span])
        times.append(time_s)
        start_utc.append(start)
        spans.append(span)
    rows = np.concatenate([np.zeros(0, np.int64), *(np.arange(s.start, s.stop) for s in spans)])
    return Sequences(
        video_ids=ids,
        listing=listing,
        labels=labels,
        start_utc=start_utc,
        first=np.concatenate([[0], np.cumsum([s.stop - s.start for s in spans])]).astype(np.int64),
        frame_index=city.frame[rows],
        time_s=np.concatenate(times),
        latlon_deg=city.latlon_deg[rows],
        paths=[f"{PICTURES}/{key}.jpg" for key in city.key[rows]],
    )


def _times(captured_ms: NDArray[np.float64]) -> tuple[NDArray[np.float64], str | None]:
    """Times from the first picture and its absolute time; one picture a second where capture times do not rise."""
    inside = (captured_ms >= 0) & (captured_ms < _LATEST_MS)  # NaN is not
    if not inside.all() or (np.diff(captured_ms) <= 0).any():
        return np.arange(len(captured_ms), dtype=np.float64), None
    return (captured_ms - captured_ms[0]) / 1000, format_utc(datetime.fromtimestamp(captured_ms[0] / 1000, UTC))
