"""The clips of GAMa's published folder as rows of a feature file: one for each second that has a place.

Shapes: M moments, V videos, E embedding width.
"""

from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from vgeo.datasets.base import Recipe
from vgeo.formats.features import FeatureWriter
from vgeo.logs import SILENT, Progress
from vgeo.stages.batch import Batch
from vgeo.stages.gama_data import published_moments
from vgeo.stages.method_encoder import MethodEncoder
from vgeo.training.data import Usable, usable_frames

_EVERY = Usable(lambda file: np.ones(len(file.latlon_deg), bool), "is a second", "see the lists of its folder")
_MADE_FROM = "published folder"  # whose pictures stay as they are: millions of them are not looked at


def add_published(
    root: Path, own: MethodEncoder, writer: FeatureWriter, batch: Batch, recipe: Recipe, progress: Progress = SILENT
) -> list[str]:
    """Embed the clips that begin at the seconds of each video, and return the videos' names.

    Videos that the writer has are skipped. What a video raises becomes its outcome. Raises UsageError, InputError,
    FormatError of the folder.
    """
    moments = published_moments(root, recipe=recipe, progress=progress)
    frames = usable_frames([moments], _EVERY)
    label_of = {
        video: {name: said[number] for name, said in moments.labels.items()}
        for number, video in enumerate(moments.video_ids)
    }
    progress.start("precompute-features", len(frames.video_ids), "videos")
    with closing(own.pairs([moments], frames)) as store:
        items = [store.at_seconds(np.arange(start, end)) for start, end in pairwise(frames.clip_first)]
        done = [video in writer.made_from for video in frames.video_ids]
        store.expect([item for item, finished in zip(items, done, strict=True) if not finished])
        for video, item_MX, finished in zip(frames.video_ids, items, done, strict=True):
            with batch.item(f"{root}:{video}") as item:
                item.outputs = [str(writer.path)]
                if finished:
                    item.skip("finished before")
                    progress.advance(1, video)
                    continue
                seen = store.batch(torch.from_numpy(item_MX), torch.ones(item_MX.shape, dtype=torch.bool))
                assert seen.frames_BTHWC is not None
                features_ME = own(seen.frames_BTHWC).cpu().numpy()
                rows = item_MX[:, 0]
                writer.add(
                    video, {own.spec.name: features_ME}, moments.time_s[frames.row_N[rows]], frames.latlon_deg[rows],
                    labels=label_of[video], source=str(root), made_from=_MADE_FROM,
                )  # fmt: skip
                item.frames = len(rows)
            progress.advance(1, video)
    return list(frames.video_ids)
