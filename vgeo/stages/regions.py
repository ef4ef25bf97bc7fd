"""Which tiles are in which region, and which of a video's regions are kept: step 3 of GAMa's search.

Shapes: R regions, G tiles, V videos, n regions kept.
"""

import math

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import InputError, UsageError
from vgeo.formats.gallery import Gallery
from vgeo.formats.picture_place import REGION, TILE, VIDEO
from vgeo.formats.rankings import Rankings
from vgeo.geo.mercator import map_position
from vgeo.geo.tiles import ACROSS, ZOOM
from vgeo.records import Floats
from vgeo.search.members import NONE, Ints, Members


def members(regions: Gallery, tiles: Gallery) -> Members:
    """Which tiles are in which region.

    Where both galleries name a video for every row, a region's tiles are those of its video, as in GAMa's centred set;
    else those whose middle lies in its square, of which the western and northern sides count. Raises InputError when
    no tile is in any region.
    """
    named = _videos(regions), _videos(tiles)
    found = _by_video(*named) if named[0] is not None and named[1] is not None else _by_place(regions, tiles)
    if not len(found.row):
        raise InputError(
            f"none of {len(tiles)} tiles is in one of {len(regions)} regions; make both of the same pictures with "
            "'vgeo build-gallery aerial'"
        )
    return found


def _videos(gallery: Gallery) -> NDArray[np.object_] | None:
    """The video of each row; None where not all have one."""
    names = gallery.labels.get(VIDEO)
    return names if names is not None and all(names) else None


def _by_video(region_video: NDArray[np.object_] | None, tile_video: NDArray[np.object_] | None) -> Members:
    assert region_video is not None and tile_video is not None
    number = {name: n for n, name in enumerate(dict.fromkeys(tile_video.tolist()))}
    of_tile = np.array([number[name] for name in tile_video.tolist()], np.int64)
    order = np.argsort(of_tile, kind="stable")
    edges = np.searchsorted(of_tile[order], np.arange(len(number) + 1))
    parts = [order[edges[n] : edges[n + 1]] if (n := number.get(name, NONE)) >= 0 else order[:0]
             for name in region_video.tolist()]  # fmt: skip
    return _joined(parts)


def _by_place(regions: Gallery, tiles: Gallery) -> Members:
    zoom, across = int(regions.attributes.get("zoom", ZOOM)), float(regions.attributes.get("across", ACROSS))
    return in_squares(regions.latlon_deg, tiles.latlon_deg, zoom, across)


def in_squares(middles_deg: Floats, latlon_deg: Floats, zoom: int, across: float) -> Members:
    """Which positions [G, 2] lie in squares of `across` tiles a side around middles [R, 2]; two of their sides count.

    Raises FormatError for what is not on the map.
    """
    half, size = across / 2, 2**zoom
    middle_R2, at_G2 = map_position(middles_deg, zoom), map_position(latlon_deg, zoom)
    # North-western corner, less what rounding of degrees does to a position that lies on the edge.
    corner_R2 = middle_R2 - half - 1e-6
    order = np.argsort(at_G2[:, 0], kind="stable")
    east_G, south_G = at_G2[order, 0], at_G2[order, 1]
    parts = []
    for west, north in corner_R2:
        rows = [  # the map has no end in the east: a square may go on in the west
            slice(*np.searchsorted(east_G, [west + turn, west + turn + 2 * half])) for turn in (-size, 0, size)
        ]
        inside = [order[part][(south_G[part] >= north) & (south_G[part] < north + 2 * half)] for part in rows]
        parts.append(np.unique(np.concatenate(inside)))
    return _joined(parts)


def _joined(parts: list[Ints]) -> Members:
    first = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return Members(first=first, row=np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64))


def how_many(asked: str, total: int) -> int:
    """As `share_or_count`, at least 1 and at most the total. Raises UsageError."""
    return max(1, min(total, share_or_count(asked, total)))


def share_or_count(asked: str, total: int) -> int:
    """Read `100`, or `1%` of a total, rounded down as in GAMa's tables (31 of 3,103). Raises UsageError."""
    text = asked.strip()
    try:
        wanted = float(text[:-1]) * total / 100 if text.endswith("%") else int(text)
    except ValueError:
        wanted = 0
    if not (0 < wanted < math.inf):
        raise UsageError(f"{asked}: give a number above 0, such as 100, or a share, such as 1%")
    return int(wanted + 1e-9)  # 0.29 % of 10,000 is 28.999... to a computer


def kept_regions(rankings: Rankings, videos: list[str], regions: Gallery, keep: str) -> Ints:
    """The best regions of each video, rows of the gallery: [V, n], NONE where a ranking has fewer.

    rankings: video -> regions. keep: how many, or which share of the gallery. Raises InputError naming a video that is
    not ranked, or when the rankings are of other regions.
    """
    row = {name: r for r, name in enumerate(region_ids(regions))}
    row_of_id = np.array([row.get(name, NONE) for name in rankings.ids], np.int64)
    if len(rankings.ids) and (row_of_id < 0).all():
        raise InputError(f"the rankings are of regions such as {rankings.ids[0]}, which the gallery does not hold")
    query = {name: q for q, name in enumerate(rankings.queries)}
    missing = [name for name in videos if name not in query]
    if missing:
        raise InputError(f"{len(missing)} videos have no ranked regions, such as {missing[0]}; rank them first")
    at = rankings.padded(np.array([query[name] for name in videos], np.int64), how_many(keep, len(regions)))
    return np.where(at >= 0, row_of_id[at], NONE)


def region_ids(regions: Gallery) -> list[str]:
    """Ids of the regions of a gallery. Raises InputError for a gallery of something else."""
    return _ids(regions, REGION, "regions; make one with 'vgeo build-gallery aerial --regions'")


def tile_ids(tiles: Gallery) -> list[str]:
    """Ids of the tiles of a gallery. Raises InputError for a gallery of something else."""
    return _ids(tiles, TILE, "tiles; make one with 'vgeo build-gallery aerial'")


def _ids(gallery: Gallery, label: str, what: str) -> list[str]:
    if label not in gallery.labels:
        raise InputError(f"the gallery has no label {label}: it is not one of {what}")
    return [str(name) for name in gallery.labels[label]]
