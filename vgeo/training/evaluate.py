"""Validation while training: every held-out frame takes its best place of a gallery, by exact search.

Shapes: G gallery entries, E embedding width, N frames, B clips and T frames of a batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.formats.gallery import Gallery
from vgeo.geo.sphere import distance_km
from vgeo.methods._gallery import embed_rows, final_queries
from vgeo.methods.base import Method, Retriever
from vgeo.metrics import WITHIN_KM
from vgeo.search.exact import top_k
from vgeo.training.data import Frames
from vgeo.training.store import FeatureStore

_BATCH_FRAMES = 4096
_KEY_ROWS = 16384


@dataclass(frozen=True, slots=True)
class Validation:
    """How far off the held-out frames are."""

    median_error_km: float
    within: dict[str, float]  # "0.5" -> share of frames within 0.5 km
    frames: int


def gallery_keys(method: Retriever, gallery: Gallery, device: torch.device) -> Tensor:
    """Embed the gallery: [G, E] float32 on the device."""
    with measuring(method):
        return torch.cat(list(embed_rows(method, gallery, device, _KEY_ROWS)))


def validate(method: Retriever, store: FeatureStore, gallery: Gallery, keys_GE: Tensor) -> Validation:
    """Embed all held-out clips (whole, as at inference) and measure the errors of the gallery's best places.

    In float32 whatever the training runs in, as `localize` does: its answers are the ones that are measured.
    """
    with measuring(method):
        best_N = np.empty(len(store.frames), np.int64)
        for frames_BT, mask_BT in whole_clips(store.frames):
            clips = store.batch(frames_BT, mask_BT)
            queries_nE = clips.frames(final_queries(method, clips, keys_GE, gallery.latlon_deg))
            best_N[frames_BT[mask_BT].numpy()] = top_k(queries_nE, keys_GE, 1).index_NK[:, 0].cpu().numpy()
    errors_km = distance_km(gallery.latlon_deg[best_N], store.frames.latlon_deg)
    within = {f"{radius:g}": float((errors_km <= radius).mean()) for radius in WITHIN_KM}
    return Validation(float(np.median(errors_km)), within, len(errors_km))


@contextmanager
def measuring(method: Method) -> Iterator[None]:
    """Put the method to use, without gradients, and back to training if it was."""
    was_training = method.training
    method.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        method.train(was_training)


def whole_clips(frames: Frames) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (frame [B, T], mask [B, T]) over all clips, clips of like length together so that little is padding."""
    lengths = np.diff(frames.clip_first)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        clips = order[start : start + max(1, _BATCH_FRAMES // longest)]
        yield _padded(frames.clip_first[clips], lengths[clips], longest)
        start += len(clips)


def _padded(first: NDArray[np.int64], lengths: NDArray[np.int64], longest: int) -> tuple[Tensor, Tensor]:
    column = np.arange(longest)
    mask_BT = column < lengths[:, None]
    frames_BT = first[:, None] + np.minimum(column, lengths[:, None] - 1)
    return torch.from_numpy(frames_BT), torch.from_numpy(mask_BT)
