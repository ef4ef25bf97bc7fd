"""The keys of a whole gallery, some rows at a time, and what is searched for among them.

Shapes: B clips, T frames, G gallery rows, E embedding width.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.errors import FormatError
from vgeo.formats.gallery import Gallery
from vgeo.formats.picture_place import PICTURED
from vgeo.formats.tile_pictures import tile_pictures
from vgeo.methods.base import Clips, Places, Retriever
from vgeo.search.exact import Keys, top_k

_TILES = 64  # of 256 x 256 at once: activations of the published stem are 800 MB a layer then
_TILES_ON_CPU = 16  # where more are no faster


def embed_rows(
    method: Retriever,
    gallery: Gallery,
    device: torch.device,
    rows: int,
    level: int | None = None,
    of: Sequence[int] | None = None,
) -> Iterator[Tensor]:
    """Yield the keys of up to `rows` gallery rows after the other, [rows, E] float32 on the device of the method.

    level: of the keys, where the method has several; None: the ordinary ones. of: only of these rows, in this order.
    Never in bf16, whose rounding is larger than the distance between the keys of neighbours: answers would change.
    Tiles come in smaller batches, decoded ahead. Raises InputError or FormatError for a tile that cannot be read.
    """
    if method.gallery_kind in PICTURED and level is None:
        yield from _embed_tiles(method, gallery, device, rows, range(len(gallery)) if of is None else of)
        return
    places = gallery if of is None else gallery.take(np.asarray(of, np.int64))
    positions_on = _float64_on(device)
    for first in range(0, len(places), rows):
        part = slice(first, first + rows)
        batch = Places(
            latlon_deg=torch.from_numpy(places.latlon_deg[part]).to(positions_on),
            features={
                name: torch.from_numpy(np.array(values[part], np.float32)).to(device)
                for name, values in places.features.items()
            },
        )
        yield (method.keys(batch) if level is None else method.level_keys(batch, level)).float()


def _embed_tiles(
    method: Retriever, gallery: Gallery, device: torch.device, most: int, of: Sequence[int]
) -> Iterator[Tensor]:
    kind = gallery.attributes.get("kind")
    if kind in PICTURED and kind != method.gallery_kind:
        raise FormatError(f"a gallery of {kind}, but the model embeds {method.gallery_kind}; build one of these")
    size = min(most, _TILES if device.type != "cpu" else _TILES_ON_CPU)
    first = 0
    for tiles in tile_pictures(gallery).batches(of, size):
        latlon = gallery.latlon_deg[np.asarray(of[first : first + len(tiles)], np.int64)]
        first += len(tiles)
        places = Places(
            latlon_deg=torch.from_numpy(latlon).to(_float64_on(device)),
            tiles_GSSC=torch.from_numpy(tiles).to(device),
        )
        yield method.keys(places).float()


def _float64_on(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "mps" else device  # mps has no float64


def final_queries(method: Retriever, clips: Clips, keys_GE: Keys, latlon_deg: NDArray[np.float64]) -> Tensor:
    """What the answer is searched with, [B, T, E] float32: a method that refines has retrieved once before.

    keys_GE, latlon_deg: the gallery's keys and positions [G, 2]. Raises FormatError for keys of another width.
    """

    def best(queries_NE: Tensor) -> NDArray[np.float64]:
        return latlon_deg[top_k(queries_NE, keys_GE, 1).index_NK[:, 0].cpu().numpy()]

    return queries_after(method, clips, best, keys_GE.shape[1])[0]


def queries_after(
    method: Retriever, clips: Clips, best: Callable[[Tensor], NDArray[np.float64]], width: int
) -> tuple[Tensor, Tensor | None]:
    """`final_queries`, and those that the first retrieval was made with where there was one.

    best: finds the best position of each query, [N, E] -> [N, 2]. width: E of the keys.
    """
    queries_BTE = method.queries(clips).float()
    if queries_BTE.shape[-1] != width:
        raise FormatError(f"the gallery's keys are {width} wide, the model's {queries_BTE.shape[-1]}")
    if not method.refines:
        return queries_BTE, None
    latlon = torch.from_numpy(best(queries_BTE.flatten(0, 1)))
    if queries_BTE.device.type != "mps":  # which has no float64: the positions stay on the CPU
        latlon = latlon.to(queries_BTE.device)
    return method.refined(clips, latlon.view(*queries_BTE.shape[:2], 2)).float(), queries_BTE
