"""The picture of each row of a gallery of tiles, or of regions, wherever it lies.

A gallery says in its attributes how pictures are found, and keeps none itself: `pictures` holds `path`, where they lie,
`relative`, the same from the gallery's own folder, so that both can be moved together, and `from`:

    tiles    the tile of a store that label `tile` names, `x_y` (GAMa's UCN set)
    crops    a crop of the store around each row's position (GAMa's CN set)
    blocks   a square of the store's tiles, shrunk to one, that label `region` names, `x_y_across` of its first tile
    areas    such a square around each row's position, shrunk
    files    a file of its own for each row, which label `path` names from the folder
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vgeo.errors import FormatError, InputError
from vgeo.formats.gallery import Gallery
from vgeo.formats.picture_place import PATH, REGION, TILE, VIDEO, place_of
from vgeo.formats.threads import in_order
from vgeo.formats.tile_crops import TileCrops, corner
from vgeo.formats.tile_store import Pixels, check_picture, decode_picture, decode_tile, open_tiles, read_file
from vgeo.geo.tiles import TILE_PX, ZOOM

_BATCHES_AHEAD = 3


class TilePictures:
    """Pictures by the number of a row. Threads may read at once."""

    def __init__(self, gallery: Gallery, read: Callable[[int], Pixels], size_px: int) -> None:
        self.size_px = size_px
        self._gallery, self._read = gallery, read

    def __len__(self) -> int:
        return len(self._gallery)

    def read(self, row: int) -> Pixels:
        """The picture of a row, uint8 [S, S, 3] RGB. Raises InputError or FormatError that names it."""
        try:
            return self._read(row)
        except (InputError, FormatError) as error:
            raise type(error)(f"{row_name(self._gallery, row)}: {error}") from error

    def batches(self, rows: Iterable[int], size: int, threads: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Yield [size, S, S, 3] of `rows` in their order, decoded ahead in threads. Raises as `read` does."""
        pictures = in_order(self.read, rows, _BATCHES_AHEAD * size, threads)
        while batch := list(islice(pictures, size)):
            yield np.stack(batch)


def tile_pictures(gallery: Gallery) -> TilePictures:
    """Open the pictures of a gallery of tiles or regions.

    Raises InputError where they are gone, FormatError where the gallery has none or does not say how they are found.
    """
    told = gallery.attributes.get("pictures")
    size_px, zoom = gallery.attributes.get("size_px"), gallery.attributes.get("zoom")
    if not isinstance(told, dict) or not isinstance(size_px, int) or size_px < 1:
        raise FormatError("the gallery has no pictures; build one of tiles with 'vgeo build-gallery aerial TILES'")
    place, found = place_of(gallery), told.get("from")
    if found == "files":
        return _of_files(gallery, place, size_px)
    if found not in _OF_STORE:
        raise FormatError(f"the gallery's pictures come from {found!r}, which this vgeo does not know; build it again")
    store = open_tiles(place, zoom if isinstance(zoom, int) else None)
    if store.size_px != size_px:
        raise FormatError(
            f"{place}: tiles of {store.size_px} pixels, the gallery was built of {size_px}; build it again"
        )
    return TilePictures(gallery, _OF_STORE[found](gallery, TileCrops(store)), size_px)


def row_name(gallery: Gallery, row: int) -> str:
    """What a row is called in messages."""
    for label in (TILE, REGION):
        if label in gallery.labels:
            return f"{label} {gallery.labels[label][row]}"
    return f"row {row}"


def numbers_of(name: str, count: int) -> tuple[int, ...]:
    """The numbers in an id such as `x_y` or `x_y_across`. Raises FormatError."""
    parts = re.fullmatch("_".join(["([0-9]{1,9})"] * count), name)
    if parts is None:
        raise FormatError(f"{name!r} is not {count} numbers with _ between; build the gallery again")
    return tuple(int(part) for part in parts.groups())


def gallery_of_files(
    root: str | os.PathLike[str],
    paths: Sequence[str],
    ids: Sequence[str],
    latlon_deg: ArrayLike,
    *,
    kind: str = "tiles",
    videos: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    zoom: int = ZOOM,
    size_px: int = TILE_PX,
    across: int | None = None,
    attribution: str = "",
) -> Gallery:
    """Make a gallery of pictures that each lie in a file of their own, as GAMa's data set has them.

    root: the folder. paths: of the pictures from there, with `/`, [G]. ids: labels `tile` or, of kind "regions",
    `region`. latlon_deg: [G, 2] of their middles. size_px: of a tile's side; regions, of `across` tiles a side, may be
    larger pictures and are shrunk to it. Each picture's file is looked at once. Raises InputError and FormatError that
    name the first one that is missing, outside the folder, damaged or of another size.
    """
    folder = Path(root)
    state = hashlib.sha256()
    for mark in in_order(lambda path: _check_file(folder, path, size_px, kind), paths):
        state.update(mark)
    labels = {TILE if kind == "tiles" else REGION: ids, PATH: paths, VIDEO: videos, "split": splits}
    return Gallery(
        latlon_deg=np.asarray(latlon_deg, np.float64).reshape(len(ids), 2),
        labels={name: np.array([*values, None], object)[:-1] for name, values in labels.items() if values is not None},
        attributes={
            "kind": kind,
            "pictures": {"from": "files", "path": str(folder.resolve())},
            "pictures_digest": state.hexdigest(),
            "zoom": zoom,
            "size_px": size_px,
            "attribution": attribution,
            **({"across": across} if across is not None else {}),
        },
    )


def _check_file(folder: Path, path: str, size_px: int, kind: str) -> bytes:
    file = folder / _inside(path)
    data = read_file(file)
    if kind == "regions":
        return hashlib.sha256(decode_picture(data, str(file)).tobytes()).digest()
    return check_picture(data, str(file), size_px)


def _inside(path: str) -> str:
    """A gallery from a stranger must not name files outside its folder of pictures."""
    if os.path.isabs(path) or ".." in Path(path).parts or "\0" in path:
        raise FormatError(f"path {path!r} leaves the folder of the pictures")
    return path


def _of_files(gallery: Gallery, folder: Path, size_px: int) -> TilePictures:
    paths = gallery.labels.get(PATH)
    if paths is None:
        raise FormatError("the gallery's pictures are files, but no label 'path' names them; build it again")
    shrink = gallery.attributes.get("kind") == "regions"

    def read(row: int) -> Pixels:
        file = folder / _inside(paths[row])
        if not shrink:
            return decode_tile(read_file(file), str(file), size_px)
        pixels = decode_picture(read_file(file), str(file))
        if pixels.shape[:2] == (size_px, size_px):
            return pixels
        return np.asarray(Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.BILINEAR))

    return TilePictures(gallery, read, size_px)


def _tiles(gallery: Gallery, crops: TileCrops) -> Callable[[int], Pixels]:
    names = _label(gallery, TILE)
    return lambda row: crops.store.read(*numbers_of(names[row], 2))


def _crops(gallery: Gallery, crops: TileCrops) -> Callable[[int], Pixels]:
    return lambda row: crops.crop(gallery.latlon_deg[row], crops.store.size_px)


def _blocks(gallery: Gallery, crops: TileCrops) -> Callable[[int], Pixels]:
    names, size = _label(gallery, REGION), crops.store.size_px

    def read(row: int) -> Pixels:
        x, y, across = numbers_of(names[row], 3)
        return crops.shrunk(x * size, y * size, across)

    return read


def _areas(gallery: Gallery, crops: TileCrops) -> Callable[[int], Pixels]:
    across, store = int(gallery.attributes.get("across", 0)), crops.store
    if across < 1:
        raise FormatError("the gallery of regions does not say how many tiles they are across; build it again")
    return lambda row: crops.shrunk(*corner(gallery.latlon_deg[row], across * store.size_px, store), across)


_OF_STORE = {"tiles": _tiles, "crops": _crops, "blocks": _blocks, "areas": _areas}


def _label(gallery: Gallery, name: str) -> NDArray[np.object_]:
    if name not in gallery.labels:
        raise FormatError(f"the gallery has no label {name!r}, by which its pictures are found; build it again")
    return gallery.labels[name]
