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
from vgeo.formats.shards import Shard, share_of
from vgeo.logs import SILENT, Progress
from vgeo.stages.batch import Batch
from vgeo.stages.gama_data import published_moments
from vgeo.stages.method_encoder import MethodEncoder
from vgeo.stages.turns import Turns
from vgeo.training.data import Usable, usable_frames

_EVERY = Usable(lambda file: np.ones(len(file.latlon_deg), bool), "is a second", "see the lists of its folder")
_MADE_FROM = "published folder"  # whose pictures stay as they are: millions of them are not looked at


def add_published(
    root: Path,
    own: MethodEncoder,
    writer: FeatureWriter,
    batch: Batch,
    recipe: Recipe,
    shard: Shard | None = None,
    progress: Progress = SILENT,
) -> list[str]:
    """Embed the clips that begin at the seconds of each video, and return the names of all videos.

    shard: only its part of the videos. Videos that the writer has, or other processes work on, are skipped. What a
    video raises becomes its outcome. Raises UsageError, InputError, FormatError of the folder.
    """
    moments = published_moments(root, recipe=recipe, progress=progress)
    frames = usable_frames([moments], _EVERY)
    label_of = {
        video: {name: said[number] for name, said in moments.labels.items()}
        for number, video in enumerate(moments.video_ids)
    }
    numbers, batch.marks = share_of(
        shard, range(len(frames.video_ids)), lambda number: f"{root}:{frames.video_ids[number]}"
    )
    progress.start("precompute-features", len(numbers), "videos")
    with closing(own.pairs([moments], frames)) as store:
        items = [store.at_seconds(np.arange(start, end)) for start, end in pairwise(frames.clip_first)]
        left = [number for number in numbers if frames.video_ids[number] not in writer.made_from]
        store.expect([items[number] for number in left])
        turns = Turns(
            numbers,
            writer.claims,
            batch,
            key=lambda number: frames.video_ids[number],
            finished=lambda number: writer.finished(frames.video_ids[number], _MADE_FROM),
            progress=progress,
        )
        for turn in turns:
            video, item_MX = frames.video_ids[turn.one], items[turn.one]
            with turns.work(turn, f"{root}:{video}") as item:
                item.outputs = [str(writer.path)]
                if turn.finished:
                    item.skip("finished before")
                    progress.advance(1, video)
                    continue
                if left and turn.one != left.pop(0):  # others do some of what was expected
                    left.clear()
                    store.expect([])
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
