"""Validation while training with tiles: every held-out clip takes its best tile of a gallery, by exact search.

Shapes: M moments, B clips of a batch, G tiles, E embedding width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.formats.gallery import Gallery
from vgeo.geo.sphere import distance_km
from vgeo.methods.base import Retriever
from vgeo.metrics import KM_PER_MILE, TOLERANCE_MI, WITHIN_MI
from vgeo.search.exact import top_k
from vgeo.training.evaluate import measuring
from vgeo.training.pair_store import PairStore

_BATCH = 64


@dataclass(frozen=True, slots=True)
class TileValidation:
    """How often the best tile, or region, of a held-out clip is a right one, and how far off it is."""

    recall: float  # share within 0.05 mile, as GAMa counts R@1 on centred tiles
    median_error_km: float
    within: dict[str, float]  # "0.16" -> share within 0.16 km, 0.1 mile
    clips: int


def validate_pairs(method: Retriever, store: PairStore, gallery: Gallery, keys_GE: Tensor) -> TileValidation:
    """Embed the clips that begin at the held-out seconds and measure how far off the best tiles are, in float32."""
    with measuring(method):
        queries_ME = embed_clips(method, store)
        best_M = top_k(queries_ME, keys_GE, 1).index_NK[:, 0].cpu().numpy()
    return measured(distance_km(gallery.latlon_deg[best_M], store.frames.latlon_deg))


def measured(errors_km: NDArray[np.float64]) -> TileValidation:
    """What errors say by GAMa's thresholds."""
    right, *shares = (float((errors_km <= miles * KM_PER_MILE).mean()) for miles in (TOLERANCE_MI, *WITHIN_MI))
    within = {f"{miles * KM_PER_MILE:.2g}": share for miles, share in zip(WITHIN_MI, shares, strict=True)}
    return TileValidation(right, float(np.median(errors_km)), within, len(errors_km))


def embed_clips(method: Retriever, store: PairStore) -> Tensor:
    """Embed the clip at each moment of a store: [M, E] float32 on the device."""
    moments = np.arange(len(store.frames))
    parts = [moments[first : first + _BATCH] for first in range(0, len(moments), _BATCH)]
    items = [store.at_seconds(part) for part in parts]
    store.expect(items)
    batches = (store.batch(torch.from_numpy(item), torch.ones(item.shape, dtype=torch.bool)) for item in items)
    return torch.cat([method.queries(clips)[:, 0].float() for clips in batches])
