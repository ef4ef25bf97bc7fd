"""Which aerial pictures a map page shows under its tracks: those of the answers, and of their runners-up."""

import base64
import io
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgeo.errors import VgeoError
from vgeo.formats.gallery import Gallery
from vgeo.formats.tile_pictures import TilePictures, tile_pictures
from vgeo.geo.mercator import latitudes, on_map
from vgeo.records import Localization

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

MOST = 300  # about 1.5 MB of page
_SIDE_PX = 128
_QUALITY = 75
_SAME = 0.35  # of a side: a picture whose middle is so near to a drawn one's shows nothing new
_POSITION_OFF = 0.5  # of a side: what is no nearer to a tile's middle was not found by it


@dataclass(frozen=True, slots=True, kw_only=True)
class MapTile:
    """A picture and the box that it shows, in degrees; east may be beyond 180."""

    south_deg: float
    west_deg: float
    north_deg: float
    east_deg: float
    jpeg: bytes

    def packed(self) -> list[float | str]:
        """As the page wants it."""
        box = (self.south_deg, self.west_deg, self.north_deg, self.east_deg)
        uri = f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode('ascii')}"
        return [*(round(edge, 7) for edge in box), uri]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapTiles:
    """Pictures for a page. The first ones are of answers and lie under the tracks; others show with their frame."""

    tiles: Sequence[MapTile]
    answers: int  # how many of them are of answers
    left_out: int = 0  # answers' pictures beyond those
    attribution: str = ""

    def packed(self) -> dict[str, object]:
        """As the page wants it."""
        note = f"{self.left_out} more tiles are not shown" if self.left_out else ""
        return {
            "list": [tile.packed() for tile in self.tiles],
            "answers": self.answers,
            "note": "; ".join(text for text in (self.attribution, note) if text),
        }


def tiles_under(localizations: Sequence[Localization], gallery: Gallery, most: int = MOST) -> MapTiles | None:
    """Gather the pictures of the tiles that clips were localized to; None where the gallery is of no tiles.

    Of more than `most` answers' pictures, so many are shown, evenly chosen; where there is room, runners-up follow,
    the best first. Pictures that are gone are left out with a warning.
    """
    if gallery.attributes.get("kind") != "tiles" or not any(len(said.track) for said in localizations):
        return None
    try:
        pictures = tile_pictures(gallery)
        zoom = int(gallery.attributes["zoom"])
    except (VgeoError, KeyError, TypeError, ValueError) as error:
        log.warning("the map shows no tiles: %s", error)
        return None
    middles = on_map(gallery.latlon_deg, zoom)
    chosen = _Chosen(middles)
    chosen.add(_rows(np.concatenate([said.track.latlon_deg for said in localizations]), middles, zoom))
    answers, left_out = list(chosen.rows), 0
    if len(answers) > most:
        left_out = len(answers) - most
        answers = [answers[int(k)] for k in np.linspace(0, len(answers) - 1, most)]
    else:
        for rank in range(1, max(said.candidates_deg.shape[1] for said in localizations)):
            others = [said.candidates_deg[:, rank] for said in localizations if said.candidates_deg.shape[1] > rank]
            chosen.add(_rows(np.concatenate(others), middles, zoom), most)
    rows = [*answers, *chosen.rows[len(answers) : most]]
    drawn = [(row, tile) for row in rows if (tile := _tile(pictures, row, middles[row], zoom)) is not None]
    shown = set(answers)
    if len(drawn) < len(rows):
        log.warning("the map lacks %d tiles whose pictures cannot be read", len(rows) - len(drawn))
    return MapTiles(
        tiles=[tile for _, tile in drawn],
        answers=sum(row in shown for row, _ in drawn),
        left_out=left_out,
        attribution=str(gallery.attributes.get("attribution") or ""),
    )


def _rows(latlon_deg: Floats, middles: Floats, zoom: int) -> list[int]:
    """For each position, once, the row of the gallery's nearest tile; positions off all tiles have none."""
    _, once = np.unique(latlon_deg, axis=0, return_index=True)
    at = on_map(latlon_deg[np.sort(once)], zoom)
    order = np.argsort(middles[:, 1], kind="stable")
    first = np.searchsorted(middles[order, 1], at[:, 1] - _POSITION_OFF, side="left")
    last = np.searchsorted(middles[order, 1], at[:, 1] + _POSITION_OFF, side="right")
    rows = []
    for (x, y), begin, end in zip(at, first, last, strict=True):
        band = order[begin:end]
        off = np.abs(middles[band] - (x, y))
        off[:, 0] = np.minimum(off[:, 0], 2**zoom - off[:, 0])
        if len(band) and off.max(axis=1).min() <= _POSITION_OFF:
            rows.append(int(band[np.argmin((off**2).sum(axis=1))]))
    return rows


class _Chosen:
    """Rows whose pictures each show something new."""

    def __init__(self, middles: Floats) -> None:
        self.rows: list[int] = []
        self._middles = middles
        self._cells: dict[tuple[int, int], list[int]] = {}

    def add(self, rows: Iterable[int], most: float = math.inf) -> None:
        """Take the rows that are not near to one taken before, up to `most` in all."""
        for row in rows:
            if len(self.rows) >= most:
                return
            x, y = (math.floor(value / _SAME) for value in self._middles[row])
            around = [near for i in (-1, 0, 1) for j in (-1, 0, 1) for near in self._cells.get((x + i, y + j), ())]
            if all(np.abs(self._middles[near] - self._middles[row]).max() >= _SAME for near in around):
                self.rows.append(row)
                self._cells.setdefault((x, y), []).append(row)


def _tile(pictures: TilePictures, row: int, middle: Floats, zoom: int) -> MapTile | None:
    """A picture made small, None where it cannot be read."""
    try:
        pixels = pictures.read(row)
    except VgeoError as error:
        log.debug("%s", error)
        return None
    data = io.BytesIO()
    Image.fromarray(pixels).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BILINEAR).save(data, "JPEG", quality=_QUALITY)
    west, east = (float(x / 2**zoom * 360 - 180) for x in (middle[0] - 0.5, middle[0] + 0.5))
    north, south = latitudes([middle[1] - 0.5, middle[1] + 0.5], zoom)
    return MapTile(
        south_deg=float(south), west_deg=west, north_deg=float(north), east_deg=east, jpeg=data.getvalue()
    )  # fmt: skip
