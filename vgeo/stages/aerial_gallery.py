"""Galleries of pictures from above: tiles as they are, crops around positions, and larger regions.

GAMa (ECCV 2022, sec. 3) searches for clips among tiles of zoom 19, one for each second of each video, as the map cuts
them (its set UCN) or centred on the position (CN); its screening network searches for videos among regions of 7 x 7
tiles, one for each video (sec. 4.2).
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import InputError, UsageError
from vgeo.formats.gallery import Gallery
from vgeo.formats.gama_lists import clip_id
from vgeo.formats.picture_place import REGION, TILE, VIDEO
from vgeo.formats.threads import in_order
from vgeo.formats.tile_crops import corner, under
from vgeo.formats.tile_store import TileStore, open_tiles
from vgeo.geo.sphere import wrap_lon
from vgeo.geo.tile_blocks import whole_blocks
from vgeo.geo.tiles import ACROSS, MAX_LAT_DEG, MOST_ZOOM, TILE_PX, Tile, block, position, square_of, tile_of
from vgeo.logs import SILENT, Progress
from vgeo.records import Floats
from vgeo.stages.aerial_places import Seconds, Source, read_seconds
from vgeo.stages.gama_data import published_pairs, published_regions

log = logging.getLogger(__name__)

DEFAULT_TILES = "tiles"
STEP = 4  # or as many as a region is across; ours: most drives of 400 m lie within one of the regions then


class AerialRules(NamedTuple):
    """Which tiles make a gallery."""

    around: Sequence[Source] = ()  # inputs whose positions crops, or regions, are centred on; none: the tiles as cut
    regions: bool = False  # large squares, shrunk to one tile
    zoom: int | None = None  # None: that of the tiles, 19 where they do not say
    across: int = ACROSS  # tiles of a region's side
    step: int | None = None  # tiles from one region to the next, where they are not around videos; None: STEP
    split: str | None = None  # of the inputs' videos
    layout: str | None = None  # the tiles are those of a published data set, whose folder is given
    uncentred: bool = False  # with it: tiles as the map cuts them, where they are centred on positions, too

    def of_tiles(self) -> dict[str, object]:
        """What is given and says how pictures are cut from tiles, by the names of its options."""
        usual = AerialRules()
        return {
            "around": self.around,
            "zoom": self.zoom is not None,
            "across": self.across != usual.across,
            "step": self.step is not None,
        }


class _Rows(NamedTuple):
    """What makes a gallery's rows, and the tiles that their pictures are cut from."""

    found: str  # how pictures are found: see formats/tile_pictures.py
    latlon_deg: Floats
    labels: dict[str, list[str]]
    tiles: Iterable[Tile]


def build_aerial(path: Source, rules: AerialRules | None = None, progress: Progress = SILENT) -> Gallery:
    """Make a gallery of the tiles of a store, of crops of them, or of regions.

    Every tile that is needed is looked at once. Raises InputError where nothing is covered, FormatError that names the
    first damaged tile or one of another size, UsageError, MissingModelError.
    """
    rules = rules or AerialRules()
    if rules.layout is not None or rules.uncentred:
        return _published(path, rules, progress)
    _check_regions(rules)
    store = open_tiles(path, rules.zoom)
    if store.size_px != TILE_PX:
        log.warning("%s: tiles of %d pixels; GAMa's are of %d", path, store.size_px, TILE_PX)
    if rules.around:
        seconds = read_seconds(rules.around, rules.split)
        rows = _areas(store, seconds, rules.across) if rules.regions else _crops(store, seconds)
    else:
        rows = _blocks(store, rules.across, rules.step or min(STEP, rules.across)) if rules.regions else _tiles(store)
    return Gallery(
        latlon_deg=rows.latlon_deg,
        labels={name: _column(values) for name, values in rows.labels.items() if any(values)},
        attributes={
            "kind": "regions" if rules.regions else "tiles",
            "pictures": {"from": rows.found, "path": str(store.path.resolve())},
            "pictures_digest": _digest(store, rows.tiles, progress),
            "zoom": store.zoom,
            "size_px": store.size_px,
            "attribution": store.attribution,
            **({"across": rules.across} if rules.regions else {}),
        },
    )


def _check_regions(rules: AerialRules) -> None:
    """Raise UsageError for what does not go together, or would do nothing."""
    if not rules.regions and (rules.across != ACROSS or rules.step is not None):
        raise UsageError("--across and --step: say how large regions are and how far apart; give them with --regions")
    if rules.around and rules.step is not None:
        raise UsageError("--step: regions around videos lie where these do; leave it out")
    if rules.across < 1 or (rules.step is not None and not 1 <= rules.step <= rules.across):
        raise UsageError(f"--across {rules.across} --step {rules.step}: the step must be from 1 to the tiles across")


def _published(root: Source, rules: AerialRules, progress: Progress) -> Gallery:
    """The gallery of GAMa's own pictures, of one split or of all."""
    if rules.layout is None:
        raise UsageError("--uncentred: says which tiles of a data set to take; name it with --layout gama")
    if rules.layout != "gama":
        raise UsageError(f"--layout {rules.layout}: has no pictures from above; only gama has")
    if ignored := [name for name, value in rules.of_tiles().items() if value]:
        raise UsageError(f"--{ignored[0]}: does nothing with --layout gama, whose pictures are cut already")
    if rules.uncentred and rules.regions:
        raise UsageError("--uncentred: does nothing with --regions, which are of all tiles; leave it out")
    splits = None if rules.split in (None, "all") else [str(rules.split)]
    if rules.regions:
        return published_regions(Path(root), splits, progress=progress)
    return published_pairs(Path(root), splits, uncentred=rules.uncentred, progress=progress)[1]


def _tiles(store: TileStore) -> _Rows:
    tiles = store.tiles()
    centres = np.array([square_of(x, y, store.zoom)[0] for x, y in tiles])
    return _Rows("tiles", centres, {TILE: [f"{x}_{y}" for x, y in tiles]}, tiles)


def _crops(store: TileStore, seconds: Sequence[Seconds]) -> _Rows:
    latlon = np.concatenate([one.latlon_deg for one in seconds])
    video = [one.video for one in seconds for _ in one.second]
    names = [clip_id(one.video, second) for one in seconds for second in one.second]
    split = [one.split for one in seconds for _ in one.second]
    kept, tiles = _covered(store, latlon, store.size_px, "positions", names)
    labels = {TILE: names, VIDEO: video, "split": split}
    return _Rows("crops", latlon[kept], _taken(labels, kept), tiles)


def _areas(store: TileStore, seconds: Sequence[Seconds], across: int) -> _Rows:
    """A region a video, around the middle of its extent: how the published ones were placed is not said."""
    latlon = np.stack([_middle(one.latlon_deg) for one in seconds])
    video = [one.video for one in seconds]
    kept, tiles = _covered(store, latlon, across * store.size_px, "videos' regions", video)
    labels = {REGION: video, VIDEO: video, "split": [one.split for one in seconds]}
    return _Rows("areas", latlon[kept], _taken(labels, kept), tiles)


def _blocks(store: TileStore, across: int, step: int) -> _Rows:
    there = store.tiles()
    starts, lost = whole_blocks(there, across, step)
    if not starts:
        raise InputError(
            f"{store.path}: nowhere {across} x {across} tiles without a gap among its {len(there)}; fetch what lies "
            "between, with 'vgeo fetch-tiles', or take smaller regions with --across"
        )
    if lost:
        log.warning("%d of %d tiles lie in no region of %d x %d: others beside them are missing", lost, len(there),
                    across, across)  # fmt: skip
    centres = np.array([position(x + across / 2, y + across / 2, store.zoom) for x, y in starts])
    used = sorted({tile for start in starts for tile in block(*start, across)})
    return _Rows("blocks", centres, {REGION: [f"{x}_{y}_{across}" for x, y in starts]}, used)


def _covered(
    store: TileStore, latlon: Floats, side_px: int, what: str, names: Sequence[str]
) -> tuple[list[int], set[Tile]]:
    """The rows whose squares are wholly shown, and the tiles of these; says how many are not. Raises InputError."""
    kept, used = [], set()
    seen: dict[Tile, bool] = {}
    for row, place in enumerate(latlon):
        tiles = _under(store, place, side_px)
        if tiles and all(_has(store, tile, seen) for tile in tiles):
            kept.append(row)
            used.update(tiles)
    if not kept:
        raise InputError(f"{store.path}: shows none of the {len(latlon)} {what}: {_why(store, latlon)}")
    if lost := len(latlon) - len(kept):
        first = names[next(row for row, at in enumerate([*kept, -1]) if row != at)]
        log.warning("%d of %d %s are not shown by the tiles and left out, %s the first", lost, len(latlon), what, first)
    return kept, used


def _under(store: TileStore, place: Floats, side_px: int) -> list[Tile]:
    """The tiles under a square around a position; none beyond the end of the map."""
    if abs(place[0]) > MAX_LAT_DEG:
        return []
    left, top = corner(place, side_px, store)
    if top < 0 or top + side_px > store.size_px * 2**store.zoom:
        return []
    return under(left, top, side_px, store.zoom, store.size_px)


def _has(store: TileStore, tile: Tile, seen: dict[Tile, bool]) -> bool:
    if tile not in seen:
        seen[tile] = store.has(*tile)
    return seen[tile]


def _why(store: TileStore, latlon: Floats) -> str:
    """Where the tiles are instead, or of which zoom they must be."""
    on_map = latlon[np.abs(latlon[:, 0]) <= MAX_LAT_DEG][:100]
    if not len(on_map):
        return "they lie outside Web Mercator, which ends at 85.0511 degrees"
    for zoom in range(MOST_ZOOM + 1):
        if zoom != store.zoom and any(store.has(*tile_of(place, zoom)) for place in on_map):
            return f"the tiles' numbers are those of zoom {zoom}; say --zoom {zoom}"
    if any(store.has(*tile_of(place, store.zoom)) for place in on_map):
        return "it has the tiles under them, but not those beside; fetch these too, with 'vgeo fetch-tiles'"
    there = store.tiles()
    at, wanted = square_of(*there[len(there) // 2], store.zoom)[0], on_map[0]
    return (
        f"its tiles of zoom {store.zoom} lie near {at[0]:.4f}, {at[1]:.4f}, they near {wanted[0]:.4f}, {wanted[1]:.4f}"
    )


def _middle(latlon_deg: Floats) -> Floats:
    """The middle of what positions [M, 2] extend over, across the antimeridian too."""
    first = latlon_deg[0]
    lat, east = latlon_deg[:, 0], wrap_lon(latlon_deg[:, 1] - first[1])
    return np.array([(lat.min() + lat.max()) / 2, float(wrap_lon(first[1] + (east.min() + east.max()) / 2))])


def _digest(store: TileStore, tiles: Iterable[Tile], progress: Progress) -> str:
    """Look at every tile; sha256 over their numbers and contents."""
    wanted = sorted(tiles)
    progress.start("check", len(wanted), "tiles")
    state = hashlib.sha256()
    marks = in_order(lambda tile: store.check(*tile), wanted)
    for (x, y), mark in zip(wanted, marks, strict=True):
        state.update(f"{x}_{y}".encode() + mark)
        progress.advance()
    return state.hexdigest()


def _taken(labels: dict[str, list[str]], rows: Sequence[int]) -> dict[str, list[str]]:
    return {name: [values[row] for row in rows] for name, values in labels.items()}


def _column(values: Sequence[str]) -> NDArray[np.object_]:
    column = np.empty(len(values), object)
    column[:] = values
    return column
