"""Validation while training with tiles: every held-out clip takes its best tile of a gallery, by exact search.

Shapes: M moments, B clips of a batch, G tiles, E embedding width.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.formats.gallery import Gallery
from vgeo.geo.sphere import distance_km
from vgeo.methods.base import Retriever
from vgeo.search.exact import top_k
from vgeo.training.evaluate import Validation, measuring
from vgeo.training.pair_store import PairStore

MILE_KM = 1.609344
WITHIN_MILES = (0.05, 0.1, 0.2, 0.5, 1.0)  # a right answer on centred tiles, and the thresholds of GAMa's table 6
_BATCH = 64


def validate_pairs(method: Retriever, store: PairStore, gallery: Gallery, keys_GE: Tensor) -> Validation:
    """Embed the clips that begin at the held-out seconds and measure how far off the best tiles are, in float32."""
    with measuring(method):
        queries_ME = embed_clips(method, store)
        best_M = top_k(queries_ME, keys_GE, 1).index_NK[:, 0].cpu().numpy()
    errors_km = distance_km(gallery.latlon_deg[best_M], store.frames.latlon_deg)
    return Validation(float(np.median(errors_km)), within_shares(errors_km), len(errors_km))


def within_shares(errors_km: NDArray[np.float64]) -> dict[str, float]:
    """Shares of errors within GAMa's thresholds, by kilometres."""
    return {f"{miles * MILE_KM:.2g}": float((errors_km <= miles * MILE_KM).mean()) for miles in WITHIN_MILES}


def embed_clips(method: Retriever, store: PairStore) -> Tensor:
    """Embed the clip at each moment of a store: [M, E] float32 on the device."""
    moments = np.arange(len(store.frames))
    parts = [moments[first : first + _BATCH] for first in range(0, len(moments), _BATCH)]
    items = [store.at_seconds(part) for part in parts]
    store.expect(items)
    batches = (store.batch(torch.from_numpy(item), torch.ones(item.shape, dtype=torch.bool)) for item in items)
    return torch.cat([method.queries(clips)[:, 0].float() for clips in batches])
