"""GAMa's published folders as pairs of clips and aerial pictures, and as galleries of tiles and of regions.

    <root>/satelite_data/<split>_gps/<video>/%02d.jpeg     256 px, around each location, by its number (CN)
    <root>/satelite_data/<split>/<video>/<x_y>.jpeg        256 px, tiles of the map (UCN)
    <root>/satelite_data/<split>_hr/<video>.jpeg           1792 px, 7 x 7 of these tiles: a region

Where lists name clips, the gallery of centred pictures has a row for each of these, as published: 115,866 for the days
of validation, of which 162 share their id with another. The gallery of tiles has those of the published list; without
one, those that hold a second's place.

Shapes: V videos, M moments (whole seconds with a place and the pictures of a clip), K seconds, A aerial pictures.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vgeo.datasets._gama_rides import FPS, Ride
from vgeo.datasets.base import Recipe
from vgeo.datasets.gama import Gama
from vgeo.errors import InputError, UsageError
from vgeo.formats.gallery import Gallery, join
from vgeo.formats.gama_lists import TileList, clip_id, tile_of_name
from vgeo.formats.tile_pictures import gallery_of_files
from vgeo.geo.tiles import ACROSS, TILE_PX, ZOOM, position
from vgeo.logs import SILENT, Progress
from vgeo.records import Floats
from vgeo.stages.frame_sets import first_rows
from vgeo.training.moment_set import Ints, MomentSet

log = logging.getLogger(__name__)

AERIAL = "satelite_data"
ATTRIBUTION = "Apple Maps (GAMa, Vyas et al., ECCV 2022)"
_SUFFIX = ".jpeg"


class _Row(NamedTuple):
    """A picture of a gallery."""

    name: str
    path: str
    latlon_deg: Floats
    video: str


@dataclass(slots=True)
class _Rows:
    """Pictures of a gallery in the making, each file once."""

    split: str
    rows: list[_Row] = field(default_factory=list)
    number: dict[str, int] = field(default_factory=dict)  # path -> row
    missing: list[str] = field(default_factory=list)  # paths that are not there

    def add(self, row: _Row, there: bool) -> int:
        """Number of a picture, -1 where there is none."""
        if not there:
            self.missing.append(row.path)
            return -1
        found = self.number.setdefault(row.path, len(self.rows))
        if found == len(self.rows):
            self.rows.append(row)
        return found

    def gallery(self, root: Path, kind: str, of_videos: bool) -> Gallery:
        """The gallery of them. Raises InputError where there are none, FormatError."""
        if not self.rows:
            first = f", {root / self.missing[0]} first" if self.missing else ""
            raise InputError(f"{root / AERIAL}: none of the wanted pictures is there{first}; unpack the aerial images")
        if self.missing:
            log.warning(
                "%s: %d aerial pictures of %s are missing, %s first",
                root / AERIAL, len(self.missing), self.split, self.missing[0],
            )  # fmt: skip
        return gallery_of_files(
            root,
            [row.path for row in self.rows],
            [row.name for row in self.rows],
            np.array([row.latlon_deg for row in self.rows]),
            kind=kind,
            videos=[row.video for row in self.rows] if of_videos else None,
            splits=[self.split] * len(self.rows),
            zoom=ZOOM,
            size_px=TILE_PX,
            across=ACROSS if kind == "regions" else None,
            attribution=ATTRIBUTION,
        )


def published_pairs(
    root: Path,
    splits: Sequence[str] | None = None,
    *,
    uncentred: bool = False,
    recipe: Recipe = Recipe(),
    progress: Progress = SILENT,
) -> tuple[MomentSet, Gallery]:
    """Clips of GAMa's folder and the tiles of their places, labelled with their split; no picture is decoded.

    splits: train and val, or those that are there. uncentred: tiles of the map instead of pictures centred on places.
    recipe: of its fields, `labels` (a list, or a folder of lists) and `min_frames` (seconds of a video) say something.
    Two rows of tiles may have one id: of one second, or in both splits. Raises UsageError, InputError, FormatError.
    """
    layout, wanted = _open(root, splits, recipe)
    moments, galleries, offset = list[_Moments](), list[Gallery](), 0
    for split in wanted:
        rides = _rides(layout, split, progress)
        made = _Rows(split)
        moments += _uncentred(root, made, rides, layout.tiles(split)) if uncentred else _centred(root, made, rides)
        galleries.append(made.gallery(root, "tiles", of_videos=not uncentred))
        for one in moments[-len(rides) :]:
            one.tile_M[one.tile_M >= 0] += offset
        offset += len(galleries[-1])
    _say(layout)
    return _moment_set(root, moments), _joined(galleries)


def published_moments(
    root: Path, splits: Sequence[str] | None = None, *, recipe: Recipe = Recipe(), progress: Progress = SILENT
) -> MomentSet:
    """Clips alone, without tiles (all -1): aerial pictures need not be there, and none is read. Raises as above."""
    layout, wanted = _open(root, splits, recipe)
    rides = [ride for split in wanted for ride in _rides(layout, split, progress)]
    _say(layout)
    return _moment_set(root, [_moments(ride, np.full(len(ride.second), -1, np.int64)) for ride in rides])


def published_regions(
    root: Path, splits: Sequence[str] | None = None, *, recipe: Recipe = Recipe(), progress: Progress = SILENT
) -> Gallery:
    """The gallery of large aerial pictures, one a video. Raises UsageError, InputError, FormatError."""
    layout, wanted = _open(root, splits, recipe)
    galleries = []
    for split in wanted:
        rides, made = _rides(layout, split, progress), _Rows(split)
        there = set(_names(root / AERIAL / f"{split}_hr"))
        for ride in rides:
            name = f"{ride.video_id}{_SUFFIX}"
            middle = _middle(root / AERIAL / split / ride.video_id, ride)
            made.add(_Row(ride.video_id, f"{AERIAL}/{split}_hr/{name}", middle, ride.video_id), name in there)
        galleries.append(made.gallery(root, "regions", of_videos=True))
    _say(layout)
    return _joined(galleries)


class _Moments(NamedTuple):
    """The moments of one video."""

    ride: Ride
    second: Ints  # [M]
    latlon_deg: Floats  # [M, 2]
    tile_M: Ints


def _open(root: Path, splits: Sequence[str] | None, recipe: Recipe) -> tuple[Gama, list[str]]:
    layout = Gama(Path(root), replace(recipe, seed=0))  # the splits are published: nothing is drawn
    wanted = list(splits or layout.splits())
    if unknown := [split for split in wanted if split not in layout.splits()]:
        raise UsageError(f"--split {unknown[0]}: not in {root}, which holds {', '.join(layout.splits())}")
    return layout, wanted


def _rides(layout: Gama, split: str, progress: Progress) -> list[Ride]:
    """The videos of a split. Raises InputError where none can be used."""
    videos = layout.videos(split)
    progress.start(f"reading {layout.title} {split}", len(videos), "videos")
    rides = []
    for found in layout.rides(split, videos):
        rides += [found.ride] if found.ride is not None and len(found.ride.second) >= layout.min_frames else []
        progress.advance(1, found.video_id)
    if not rides:
        raise InputError(f"{layout.root}: {split}: {layout.nothing()}")
    return rides


def _say(layout: Gama) -> None:
    for line in layout.remarks():
        log.warning("%s: %s", layout.title, line)


def _centred(root: Path, made: _Rows, rides: Sequence[Ride]) -> Iterator[_Moments]:
    """Moments with the picture around their place; `made` gets all pictures of listed seconds."""
    for ride in rides:
        there = set(_names(root / AERIAL / f"{ride.split}_gps" / ride.video_id))
        row_A = np.full(len(ride.picture), -1, np.int64)
        at_A = np.searchsorted(ride.second, ride.picture_second)
        for a, picture in enumerate(ride.picture):
            # A list may name a picture whose own location is gone: its second's stands for it.
            known = np.isfinite(ride.picture_latlon_deg[a, 0])
            place = ride.picture_latlon_deg[a] if known else ride.latlon_deg[at_A[a]]
            if np.isnan(place[0]):
                continue
            name = clip_id(ride.video_id, int(ride.picture_second[a]))
            path = f"{AERIAL}/{ride.split}_gps/{ride.video_id}/{picture}"
            row_A[a] = made.add(_Row(name, path, place, ride.video_id), picture in there)
        row_K = row_A[ride.own]
        for k in np.flatnonzero(row_K < 0):  # another of that second, where its own is missing
            row_K[k] = row_A[at_A == k].max()
        yield _moments(ride, row_K)


def _uncentred(root: Path, made: _Rows, rides: Sequence[Ride], listed: TileList | None) -> Iterator[_Moments]:
    """Moments with the tile of the map that holds their place; `made` gets the listed tiles, else those."""
    split, row_of = made.split, dict[str, int]()
    folders: dict[str, set[str]] = {}

    def add(tile: str, video: str) -> int:
        numbers = tile_of_name(tile)
        if numbers is None:
            return -1
        if video not in folders:
            folders[video] = set(_names(root / AERIAL / split / video))
        name = f"{tile}{_SUFFIX}"
        middle = position(numbers[0] + 0.5, numbers[1] + 0.5, ZOOM)
        return made.add(_Row(tile, f"{AERIAL}/{split}/{video}/{name}", middle, video), name in folders[video])

    for tile, video in (listed.video if listed is not None else {}).items():
        row_of[tile] = add(tile, video)
    for ride in rides:
        tiles = ride.tiles()
        for tile in tiles if listed is None else ():
            if row_of.get(tile, -1) < 0:
                row_of[tile] = add(tile, ride.video_id)
        yield _moments(ride, np.array([row_of.get(tiles[a], -1) for a in ride.own], np.int64))


def _moments(ride: Ride, row_K: Ints) -> _Moments:
    """The seconds that a clip begins at: its pictures are there, and its place is known."""
    kept = ride.whole() & np.isfinite(ride.latlon_deg[:, 0])
    return _Moments(ride, ride.second[kept], ride.latlon_deg[kept], row_K[kept])


def _moment_set(root: Path, moments: Sequence[_Moments]) -> MomentSet:
    kept = [one for one in moments if len(one.second)]
    if dropped := len(moments) - len(kept):
        log.warning("%s: %d videos have no second with the pictures of a clip and a known place", root, dropped)
    if not kept:
        raise InputError(f"{root}: no second of a video has the pictures of a clip and a known place")
    labels = [one.ride.labels() for one in kept]
    names = dict.fromkeys(name for said in labels for name in said)
    return MomentSet(
        path=root,
        video_ids=[one.ride.video_id for one in kept],
        first_row=first_rows([len(one.second) for one in kept]),
        latlon_deg=np.concatenate([one.latlon_deg for one in kept]),
        labels={name: [said.get(name, "") for said in labels] for name in names},
        time_s=np.concatenate([one.second for one in kept]).astype(np.float64),
        tile_M=np.concatenate([one.tile_M for one in kept]),
        first_picture=first_rows([len(one.ride.shots.names) for one in kept]),
        picture_time_s=np.concatenate([one.ride.shots.number for one in kept]) / FPS,
        folders=[str(one.ride.shots.folder) for one in kept],
        names=[one.ride.shots.names for one in kept],
    )


def _joined(galleries: Sequence[Gallery]) -> Gallery:
    """Galleries of the same folder in one; its digest says what all were made of."""
    if len(galleries) == 1:
        return galleries[0]
    digests = "".join(str(one.attributes["pictures_digest"]) for one in galleries)
    joined = join(galleries)
    return Gallery(
        latlon_deg=joined.latlon_deg,
        labels=joined.labels,
        attributes=galleries[0].attributes | {"pictures_digest": hashlib.sha256(digests.encode()).hexdigest()},
    )


def _middle(folder: Path, ride: Ride) -> Floats:
    """The middle of a video's region: of its tiles where they are there, else of where it drove."""
    tiles = [tile_of_name(name.removesuffix(_SUFFIX)) for name in _names(folder)]
    found = np.array([tile for tile in tiles if tile is not None]).reshape(-1, 2)
    if len(found) and (np.ptp(found, axis=0) == ACROSS - 1).all():
        x, y = (found.min(axis=0) + found.max(axis=0) + 1) / 2
        return position(float(x), float(y), ZOOM)
    return ride.middle_deg


def _names(folder: Path) -> list[str]:
    """What a folder holds; nothing where there is none."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
