"""The keys of a whole gallery, some rows at a time: what validation and localization search."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vgeo.formats.gallery import Gallery
from vgeo.methods.base import Method, Places


def embed_rows(method: Method, gallery: Gallery, device: torch.device, rows: int) -> Iterator[Tensor]:
    """Yield the keys of `rows` gallery rows after the other, [rows, E] float32 on the device that the method is on.

    Never in bf16, whose rounding is larger than the distance between the keys of neighbours: answers would change.
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
        yield method.keys(places).float()
