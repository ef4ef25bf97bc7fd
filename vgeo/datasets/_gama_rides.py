"""One video of GAMa: its pictures, its whole seconds, where they were, and the aerial pictures of these places.

The published code pairs the second s = round((t - start) / 1000 ms) of a location with the picture that bears the
location's number (02.jpeg, say, where the first one was taken before the start), and moves what comes later than two
seconds before the end to there. Two locations may so be of one second: all their pictures are in the gallery, as
published, and the clip's own is that of the location nearest in time. (The published dictionaries keep the last, which
at the end of a video is a place that the clip does not come to.)

Shapes: N pictures of the camera, A aerial pictures, K seconds, L locations.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgeo.datasets._gama_lists import Listed
from vgeo.errors import FormatError
from vgeo.formats.gama_lists import tile_of_name
from vgeo.formats.ride_info import RideInfo
from vgeo.geo.tiles import MAX_LAT_DEG, ZOOM, tile_of
from vgeo.records import Floats
from vgeo.video.finding import is_image

FPS = 30  # of the pictures (code): clips are of 8, every second one
CLIP_PICTURES = 15  # from the first to the last of a clip
_LAST_S = 2  # a clip begins no later before the end, in whole seconds (code)
FARTHEST_S = 1.0  # from a second to a location that tells where it was: they come once a second

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shots:
    """Pictures of the camera, 30 a second."""

    folder: Path
    names: tuple[str, ...]  # [N]
    number: Ints  # [N] rising; 0 is the first of the video

    def have(self, number: Ints) -> NDArray[np.bool_]:
        """Whether there are pictures of these numbers."""
        at = np.minimum(np.searchsorted(self.number, number), len(self.number) - 1)
        return np.asarray(self.number[at] == number)

    def name(self, number: int) -> str:
        """Name of a picture that there is."""
        return self.names[int(np.searchsorted(self.number, number))]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ride:
    """A video with its seconds, and an aerial picture for each; more of them where locations share a second."""

    video_id: str
    split: str
    daytime: str  # day, night or ""
    start_ms: float  # since 1970
    shots: Shots
    second: Ints  # [K] rising
    latlon_deg: Floats  # [K, 2] of the location nearest in time; NaN where none is near
    own: Ints  # [K] which of the A pictures is the second's own
    picture: list[str]  # [A] names of the centred pictures
    picture_second: Ints  # [A]
    picture_latlon_deg: Floats  # [A, 2] the place around which it was cut; NaN where that is not known
    listed_tile: list[str]  # [A] x_y of the tile of that place where a list names it, else ""
    elsewhere: int  # listed tiles in which the location of that picture does not lie
    middle_deg: Floats  # [2] of the ranges of latitude and longitude

    def labels(self) -> dict[str, str]:
        """What is known of the whole video."""
        return {"split": self.split} | ({"daytime": self.daytime} if self.daytime else {})

    def tiles(self) -> list[str]:
        """x_y of the tile of each place [A], as listed, else as it lies; "" where that is not known."""
        pairs = zip(self.listed_tile, self.picture_latlon_deg, strict=True)
        return [tile or _tile_at(place) for tile, place in pairs]

    def whole(self) -> NDArray[np.bool_]:
        """[K] whether all pictures of the clip that begins there are on disk."""
        wanted = self.second[:, None] * FPS + np.arange(CLIP_PICTURES)
        return np.asarray(self.shots.have(wanted).all(axis=1))


def find_shots(folder: Path) -> Shots | None:
    """List a video's pictures; None where there are none. They are numbered from 0 or from 1."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return None
    for first in (0, 1):
        if names and names == _usual(first, len(names)):
            return Shots(folder=folder, names=_shared(tuple(names)), number=np.arange(len(names)))
    numbered = [(_number(os.path.splitext(name)[0]), name) for name in names if is_image(Path(name))]
    found = sorted(one for one in numbered if one[0] >= 0)
    if not found:
        return None
    if twice := [b for a, b in pairwise(found) if a[0] == b[0]]:
        raise FormatError(f"{folder}: two pictures of number {twice[0][0]}; keep one")
    number = np.array([one for one, _ in found], np.int64)
    first = 1 if number[0] == 1 else 0
    return Shots(folder=folder, names=tuple(name for _, name in found), number=number - first)


def make_ride(
    video_id: str, split: str, daytime: str, shots: Shots, info: RideInfo, listed: Sequence[Listed] | None
) -> Ride:
    """Lay out a video's seconds. listed: its clips as lists name them; None takes those of all locations.

    Raises FormatError where no location can be used.
    """
    seconds_L = _clamped(info.seconds(), int(shots.number[-1] + 1) // FPS - _LAST_S)
    rows = _located(info, seconds_L) if listed is None else _as_listed(listed, info, seconds_L)
    location_A = np.array([location for _, _, _, location in rows], np.int64)
    second_A = np.array([second for second, _, _, _ in rows], np.int64)
    second_K = np.unique(second_A)
    nearest_K, off_K = info.at(second_K)
    latlon_K2 = np.where((off_K <= FARTHEST_S)[:, None], info.latlon_deg[nearest_K], np.nan)
    latlon_A2 = np.full((len(rows), 2), np.nan)
    latlon_A2[location_A >= 0] = info.latlon_deg[location_A[location_A >= 0]]
    places = info.latlon_deg[info.used]
    return Ride(
        video_id=video_id,
        split=split,
        daytime=daytime,
        start_ms=info.start_ms,
        shots=shots,
        second=second_K,
        latlon_deg=latlon_K2,
        own=_own(second_K, second_A, location_A, info),
        picture=[picture for _, picture, _, _ in rows],
        picture_second=second_A,
        picture_latlon_deg=latlon_A2,
        listed_tile=[tile for _, _, tile, _ in rows],
        elsewhere=sum(
            _lies_elsewhere(tile, place) for (_, _, tile, _), place in zip(rows, latlon_A2, strict=True) if tile
        ),
        middle_deg=(places.min(axis=0) + places.max(axis=0)) / 2,
    )


_Row = tuple[int, str, str, int]  # second, picture, tile, number of its location (-1: unknown)


def _clamped(seconds_L: Ints, latest: int) -> Ints:
    """The second of the clip of each location, -1 where there is none."""
    return np.where(seconds_L >= 0, np.minimum(seconds_L, max(latest, -1)), -1)


def _located(info: RideInfo, seconds_L: Ints) -> list[_Row]:
    return [(int(seconds_L[row]), f"{row:02d}.jpeg", "", int(row)) for row in np.flatnonzero(seconds_L >= 0)]


def _as_listed(listed: Sequence[Listed], info: RideInfo, seconds_L: Ints) -> list[_Row]:
    """Listed clips, each once for each picture. Where no picture is named, that of the next location of its second."""
    rows: dict[_Row, None] = {}
    turns = Counter[int]()
    for second, tile, picture in listed:
        if picture:
            number = _number(os.path.splitext(picture)[0])
            rows[second, picture, tile, number if number < len(info.time_s) else -1] = None
            continue
        of = np.flatnonzero(seconds_L == second)
        if not len(of):
            nearest, off_s = info.at(np.array([second]))
            of = nearest[off_s <= FARTHEST_S]
        location = int(of[min(turns[second], len(of) - 1)]) if len(of) else -1
        rows[second, f"{location:02d}.jpeg" if len(of) else "", tile, location] = None
        turns[second] += 1
    return list(rows)


def _number(stem: str) -> int:
    """The number that a picture is called by; -1 where that is none."""
    return int(stem) if stem.isascii() and stem.isdecimal() and len(stem) < 9 else -1


def _own(second_K: Ints, second_A: Ints, location_A: Ints, info: RideInfo) -> Ints:
    """For each second, its picture whose location is nearest in time, the later of equals."""
    off_A = np.full(len(second_A), np.inf)
    known = location_A >= 0
    off_A[known] = np.nan_to_num(np.abs(info.time_s[location_A[known]] - second_A[known]), nan=np.inf)
    order = np.lexsort((np.arange(len(off_A)), -off_A, second_A))  # the last of each second is the nearest
    return order[np.searchsorted(second_A[order], second_K, side="right") - 1]


def _tile_at(place: Floats) -> str:
    if not np.abs(place[0]) <= MAX_LAT_DEG:  # NaN is not
        return ""
    x, y = tile_of(place, ZOOM)
    return f"{x}_{y}"


def _lies_elsewhere(tile: str, place: Floats) -> bool:
    """Whether a place is not in a tile, nor in one that touches it: a rounded location may cross an edge."""
    listed, true = tile_of_name(tile), tile_of_name(_tile_at(place))
    return listed is not None and true is not None and max(abs(a - b) for a, b in zip(listed, true, strict=True)) > 1


@lru_cache(maxsize=4096)
def _usual(first: int, count: int) -> list[str]:
    return [f"{number:04d}.png" for number in range(first, first + count)]


@lru_cache(maxsize=4096)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Equal names, held once: those of videos of one length are the same."""
    return names
