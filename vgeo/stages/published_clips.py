"""The clips of GAMa's published folder, seen by a model: queries of its test, one for each second that has a place.

Shapes: M moments, E embedding width.
"""

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from vgeo.datasets.base import Recipe
from vgeo.device import Compute
from vgeo.logs import SILENT, Progress
from vgeo.methods.base import OWN
from vgeo.stages.gama_data import published_pairs
from vgeo.stages.localizer import ClipQuery
from vgeo.stages.models import Model
from vgeo.training.data import Usable, usable_frames
from vgeo.training.evaluate import measuring
from vgeo.training.evaluate_pairs import embed_clips
from vgeo.training.pair_store import PairStore

log = logging.getLogger(__name__)

_EVERY = Usable(lambda file: np.ones(len(file.latlon_deg), bool), "is a second", "see the lists of its folder")
_VIDEOS = 64  # that are looked at together


def published_queries(
    root: Path, split: str, model: Model, compute: Compute, progress: Progress = SILENT
) -> Iterator[ClipQuery]:
    """Yield the clips of each video of a split, embedded. Raises UsageError, InputError, FormatError."""
    moments, _ = published_pairs(root, [split], recipe=Recipe(), progress=progress)
    method = model.retriever.to(compute.device)
    windows, rate_hz, shape = method.windows, method.rate_hz, method.frame_shape
    assert windows is not None and rate_hz is not None and shape is not None
    frames = usable_frames([moments], _EVERY)
    progress.start("rank", len(frames.video_ids), "videos")
    for first in range(0, len(frames.video_ids), _VIDEOS):
        some = frames.of_clips(np.arange(first, min(first + _VIDEOS, len(frames.video_ids))))
        store = PairStore([moments], some, None, shape, compute, length=windows.length, rate_hz=rate_hz, resident=False)
        try:
            with measuring(method), compute.autocast():
                queries_ME = embed_clips(method, store).cpu().numpy()
        finally:
            store.close()
        for video, (start, end) in enumerate(pairwise(some.clip_first)):
            progress.advance(1, some.video_ids[video])
            yield ClipQuery(
                video_id=some.video_ids[video],
                source=str(root),
                features={OWN: queries_ME[start:end]},
                time_s=moments.time_s[some.row_N[start:end]],
            )
