"""What is right for queries that were ranked: from tables, from tracks, and from the gallery's geometry.

Shapes: Q queries, T fixes of a track, M right answers of a query, I ranked ids.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError
from vgeo.formats.frame_folder import FRAMES_FILE
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.formats.gama_lists import clip_of, read_tiles, tile_of_name
from vgeo.formats.picture_place import REGION, TILE, VIDEO
from vgeo.formats.ranking_truth import KnownQueries, is_table, read_known
from vgeo.formats.tracks import read_tracks
from vgeo.geo.mercator import map_position
from vgeo.geo.sphere import wrap_lon
from vgeo.geo.tiles import ACROSS, ZOOM, position
from vgeo.records import Floats, Track
from vgeo.stages.clip_labels import join_ids
from vgeo.stages.regions import in_squares

log = logging.getLogger(__name__)

Rule = Literal["cn", "ucn", "regions"]
RULES: tuple[Rule, ...] = ("cn", "ucn", "regions")


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranked:
    """What was ranked: ids, and where each is."""

    ids: list[str]  # [I]
    latlon_deg: Floats  # [I, 2]
    size: int  # how many there were to rank; ids may repeat in a file of them
    zoom: int = ZOOM
    across: float = ACROSS  # tiles on a side of a region
    videos: list[str] = field(default_factory=list)  # [I] whose region each is, where that is said


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What is known: tables of clips or videos, and tracks of videos."""

    known: tuple[KnownQueries, ...]
    tracks: tuple[Track, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What is right for each query; () and NaN where that is not known."""

    true: list[tuple[str, ...]]  # [Q] ids
    latlon_deg: Floats  # [Q, 2]
    unused: list[str]  # clips or videos that are known, but were not ranked for


def read_truth(paths: Sequence[str | os.PathLike[str]]) -> Truth:
    """Read tables and tracks, in any mixture. Raises InputError, FormatError."""
    tables = [path for path in paths if is_table(path)]
    tracks = [track for path in paths if path not in tables for track in read_tracks(_tracks_of(path))]
    return Truth(known=tuple(map(read_known, tables)), tracks=tuple(tracks))


def _tracks_of(path: str | os.PathLike[str]) -> str:
    """The file of a folder of frames that says where they are; other folders are taken as they are."""
    frames = Path(path) / FRAMES_FILE
    return os.fspath(frames if frames.is_file() else path)


def read_ranked(path: str | os.PathLike[str]) -> Ranked:
    """Read what was ranked: a gallery of tiles or regions, or GAMa's list of tiles. Raises InputError, FormatError."""
    if Path(path).suffix.lower() == ".list":
        ids = list(read_tiles(Path(path)).video)
        return Ranked(ids=ids, latlon_deg=_middles(ids), size=len(ids))
    return of_gallery(read_gallery(path))


def of_gallery(gallery: Gallery) -> Ranked:
    """What a gallery holds. Raises InputError where its rows have no ids."""
    names = next((gallery.labels[label] for label in (REGION, TILE) if label in gallery.labels), None)
    if names is None:
        raise InputError("the gallery has no label tile or region: nothing in it has an id that could be ranked")
    videos = gallery.labels.get(VIDEO)
    return Ranked(
        ids=[str(name) for name in names],
        latlon_deg=gallery.latlon_deg,
        size=len(gallery),
        zoom=int(gallery.attributes.get("zoom", ZOOM)),
        across=float(gallery.attributes.get("across", ACROSS)),
        videos=[str(name) for name in videos] if videos is not None and all(videos) else [],
    )


def answers(queries: Sequence[str], truth: Truth, rule: Rule, ranked: Ranked | None, max_gap_s: float) -> Answers:
    """Find what is right for each query.

    A table's word counts before what follows from a track. By rule: cn, the tile that is called like the clip; ucn, the
    tile under its position; regions, the video's own, else those whose square holds the median of its positions.
    max_gap_s: how far from a clip's second the nearest fix may be.
    """
    row = {name: q for q, name in enumerate(queries)}
    latlon = np.full((len(queries), 2), np.nan)
    true: list[tuple[str, ...]] = [()] * len(queries)
    unused = _of_tracks(queries, truth.tracks, rule, latlon, max_gap_s)
    for table in truth.known:
        unused += [name for name in table.names if name not in row]
        for name, said, at in zip(table.names, table.true, table.latlon_deg, strict=True):
            if name not in row:
                continue
            own = name if table.grid and rule == "cn" else said  # centred tiles are called like their clips
            true[row[name]] = (own,) if own else true[row[name]]
            if not np.isnan(at[0]):
                latlon[row[name]] = at
    derived = _derived(queries, latlon, rule, ranked)
    return Answers(
        true=[said or found for said, found in zip(true, derived, strict=True)], latlon_deg=latlon, unused=unused
    )


def _of_tracks(
    queries: Sequence[str], tracks: Sequence[Track], rule: Rule, latlon: Floats, max_gap_s: float
) -> list[str]:
    """Fill in positions of queries; return the tracks that none of them is of."""
    by_id = {track.video_id: track for track in tracks}
    clips: dict[str, list[tuple[int, float]]] = {}  # video -> its queries and their seconds
    for q, name in enumerate(queries):
        clip = (name, 0) if rule == "regions" else clip_of(name)
        if clip is not None:
            clips.setdefault(clip[0], []).append((q, float(clip[1])))
    joined = dict(join_ids(list(clips), list(by_id)))
    for video, members in clips.items():
        if video not in joined:
            continue
        track, rows = by_id[joined[video]], np.array([q for q, _ in members])
        if rule == "regions":
            latlon[rows] = median_position(track.latlon_deg)
        else:
            latlon[rows] = _nearest(track, np.array([second for _, second in members]), max_gap_s)
    used = set(joined.values())
    return [name for name in by_id if name not in used]


def _nearest(track: Track, seconds: Floats, max_gap_s: float) -> Floats:
    """The fix nearest to each second, [N, 2]; NaN where none is near. Raises FormatError for a track without times."""
    if track.time_s is None:
        raise FormatError(f"track {track.video_id} says nothing of time: where its clips are cannot be told")
    right = np.clip(np.searchsorted(track.time_s, seconds), 0, len(track) - 1)
    left = np.maximum(right - 1, 0)
    at = np.where(seconds - track.time_s[left] <= track.time_s[right] - seconds, left, right)
    far = np.abs(track.time_s[at] - seconds) > max_gap_s
    return np.where(far[:, None], np.nan, track.latlon_deg[at])


def median_position(latlon_deg: Floats) -> Floats:
    """Median latitude and longitude of a track [T, 2], as GAMa takes a video's place (code)."""
    lat, lon = np.median(latlon_deg[:, 0]), np.median(np.unwrap(latlon_deg[:, 1], period=360))
    return np.array([lat, float(wrap_lon(lon))])


def _derived(queries: Sequence[str], latlon: Floats, rule: Rule, ranked: Ranked | None) -> list[tuple[str, ...]]:
    known: NDArray[np.bool_] = ~np.isnan(latlon[:, 0])
    if rule == "ucn":
        zoom = ranked.zoom if ranked is not None else ZOOM
        under = np.floor(map_position(np.where(known[:, None], latlon, 0), zoom)).astype(int).tolist()
        return [(f"{x}_{y}",) if there else () for (x, y), there in zip(under, known, strict=True)]
    if rule == "regions" and ranked is not None:
        if ranked.videos:
            mine: dict[str, list[str]] = {}
            for name, video in zip(ranked.ids, ranked.videos, strict=True):
                mine.setdefault(video, []).append(name)
            return [tuple(mine.get(name, ())) if there else () for name, there in zip(queries, known, strict=True)]
        return _blocks(latlon, known, ranked)
    return [(name,) if there else () for name, there in zip(queries, known, strict=True)]


def _blocks(latlon: Floats, known: NDArray[np.bool_], ranked: Ranked) -> list[tuple[str, ...]]:
    """The blocks whose square holds each position; they may overlap."""
    found: list[tuple[str, ...]] = [()] * len(latlon)
    at = np.flatnonzero(known)
    held = in_squares(ranked.latlon_deg, latlon[at], ranked.zoom, ranked.across)
    for name, first, end in zip(ranked.ids, held.first, held.first[1:], strict=False):
        for q in at[held.row[first:end]].tolist():
            found[q] = (*found[q], name)
    return found


def positions(ids: Sequence[str], truth: Truth, rule: Rule, ranked: Ranked | None, max_gap_s: float) -> Floats:
    """Where the ranked ids are: [I, 2], NaN where that is not known.

    In the middle that the gallery says, or that follows from a tile's id; else a centred tile is where its clip is. A
    video's region is where the video is, between which GAMa measures (code).
    """
    if rule == "ucn" and ranked is None:
        return _middles(ids)
    found = np.full((len(ids), 2), np.nan)
    if ranked is not None:
        _fill(found, ids, {name: r for r, name in enumerate(ranked.ids)}, ranked.latlon_deg)
    if rule == "ucn" or (rule == "regions" and ranked is not None and not ranked.videos):
        return found
    video_of = dict(zip(ranked.ids, ranked.videos, strict=False)) if ranked is not None and rule == "regions" else {}
    own = np.full((len(ids), 2), np.nan)
    names = [video_of.get(name, name) for name in ids]
    _of_tracks(names, truth.tracks, rule, own, max_gap_s)
    for table in truth.known:
        by_name = {name: row for row, name in enumerate(table.names)}
        by_true = {} if table.grid else {name: row for row, name in enumerate(table.true)}
        _fill(own, names, by_name | by_true, table.latlon_deg)
    first, second = (own, found) if rule == "regions" else (found, own)
    return np.where(np.isnan(first), second, first)


def _fill(found: Floats, ids: Sequence[str], row: dict[str, int], latlon_deg: Floats) -> None:
    """Put in the positions of those ids that have one. row: of positions, by id."""
    at = np.array([row.get(name, -1) for name in ids], np.int64)
    there = at >= 0
    there[there] = ~np.isnan(latlon_deg[at[there], 0])
    found[there] = latlon_deg[at[there]]


def _middles(ids: Sequence[str]) -> Floats:
    """The middle of tiles x_y of zoom 19; NaN for other ids."""
    found = np.full((len(ids), 2), np.nan)
    for i, name in enumerate(ids):
        if (tile := tile_of_name(name)) is not None:
            found[i] = position(tile[0] + 0.5, tile[1] + 0.5, ZOOM)
    return found
