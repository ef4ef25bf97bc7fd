"""The keys of a whole gallery, some rows at a time, and what is searched for among them.

Shapes: B clips, T frames, G gallery rows, E embedding width.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.errors import FormatError
from vgeo.formats.gallery import Gallery
from vgeo.methods.base import Clips, Places, Retriever
from vgeo.search.exact import Keys, top_k


def embed_rows(
    method: Retriever, gallery: Gallery, device: torch.device, rows: int, level: int | None = None
) -> Iterator[Tensor]:
    """Yield the keys of `rows` gallery rows after the other, [rows, E] float32 on the device that the method is on.

    level: of the keys, where the method has several; None: the ordinary ones. Never in bf16, whose rounding is larger
    than the distance between the keys of neighbours: answers would change.
    """
    positions_on = torch.device("cpu") if device.type == "mps" else device  # mps has no float64
    for first in range(0, len(gallery), rows):
        part = slice(first, first + rows)
        places = Places(
            latlon_deg=torch.from_numpy(gallery.latlon_deg[part]).to(positions_on),
            features={
                name: torch.from_numpy(np.array(values[part], np.float32)).to(device)
                for name, values in gallery.features.items()
            },
        )
        yield (method.keys(places) if level is None else method.level_keys(places, level)).float()


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
