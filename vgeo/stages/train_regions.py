"""What a run of a screening network needs before it begins: videos' tiles, in their order, and the regions they lie in.

Shapes: V videos, M moments.
"""

import logging
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from vgeo.datasets.base import Recipe
from vgeo.errors import InputError, UsageError
from vgeo.formats.gallery import Gallery
from vgeo.formats.gama_lists import clip_of
from vgeo.formats.picture_place import VIDEO
from vgeo.formats.rankings import Rankings, read_rankings
from vgeo.formats.tile_pictures import tile_pictures
from vgeo.geo.sphere import centroid, distance_km
from vgeo.methods.base import Retriever
from vgeo.methods.screening import PREDICTED, TRUE
from vgeo.search.exact import top_k
from vgeo.stages.gama_data import published_regions
from vgeo.stages.regions import members, tile_ids
from vgeo.stages.train_aerial import (
    WITH_TILE,
    aerial_model,
    check_options,
    clips_of,
    held_out_rows,
    load_weights,
    moment_sets,
    read_tiles,
)
from vgeo.stages.train_prepare import Prepared, Request
from vgeo.training.data import Frames, split
from vgeo.training.evaluate import gallery_keys, measuring
from vgeo.training.evaluate_pairs import TileValidation, measured
from vgeo.training.moment_set import Ints, MomentSet
from vgeo.training.run import Validate
from vgeo.training.sequence_store import SequenceStore, sequence_of

log = logging.getLogger(__name__)


def prepare_sequences(asked: Request) -> Prepared:
    """Read videos, tiles and regions, and build the model that is to match them. Raises what `train` does.

    Without --rankings, what was predicted for the clips, only the first phase is trained.
    """
    check_options(asked)
    model = aerial_model(asked)
    _limit_phases(model, asked)
    files, val_files, tiles = clips_of(asked, None)
    regions = _regions(asked)
    parts = split(files, val_files, asked.val_fraction, asked.options.seed, asked.listed, WITH_TILE)
    rankings = None if asked.rankings is None else read_rankings(asked.rankings)
    load_weights(model, asked)
    model.to(asked.compute.device)
    searched = held_out_rows(regions, parts)
    store = _store(asked, files, parts.train, tiles, regions, rankings)
    val_store = None
    if parts.val is not None:
        val_store = _store(asked, moment_sets(parts.val_files), parts.val, tiles, searched, rankings, held_out=True)
    return Prepared(
        model=model,
        encoders={},
        parts=parts,
        gallery=regions,
        store=store,
        val_store=val_store,
        validate=None if val_store is None else _validator(model, val_store, searched, asked),
        places=f"gallery of {len(searched)} regions",
        noun="seconds",
        facts={"tiles": tiles.digest, "rankings": None if rankings is None else rankings.digest},
    )


def _regions(asked: Request) -> Gallery:
    """The given gallery of regions, a published folder's own, or gallery.h5."""
    if asked.gallery is None and asked.layout is not None:
        return published_regions(asked.inputs[0], recipe=Recipe(labels=asked.labels), progress=asked.progress)
    return read_tiles(asked.gallery, "regions")


def _limit_phases(model: Retriever, asked: Request) -> None:
    """Leave the phases that can be trained with what there is. Raises UsageError."""
    if asked.rankings is not None:
        return
    if asked.options.phase == PREDICTED:
        raise UsageError(f"--phase {PREDICTED} learns from what was predicted for the clips; give it with --rankings")
    model.phases = (TRUE,)
    log.info("phase %s alone: for phase %s, give what 'vgeo rank' says of the clips with --rankings", TRUE, PREDICTED)


def _store(
    asked: Request,
    files: Sequence[MomentSet],
    frames: Frames,
    tiles: Gallery,
    regions: Gallery,
    rankings: Rankings | None,
    held_out: bool = False,
) -> SequenceStore:
    tile_M = np.concatenate([file.tile_M for file in files])[frames.row_N]
    true_V = np.split(tile_M, frames.clip_first[1:-1])
    of: dict[str, Sequence[Ints]] = {TRUE: true_V}
    if rankings is not None:
        of[PREDICTED] = _predicted(rankings, frames, tiles, true_V, held_out)
    region_V = regions_of(frames, regions)
    return SequenceStore(frames, of, region_V, tile_pictures(tiles), tile_pictures(regions), asked.compute)


def regions_of(frames: Frames, regions: Gallery) -> Ints:
    """The row of each video's region [V]: its own where regions are named by videos, else that with the nearest middle.

    Raises InputError where a video has none of its own, or where no video lies in any; warns of single ones.
    """
    if VIDEO in regions.labels and all(regions.labels[VIDEO]):
        row_of = {str(name): row for row, name in enumerate(regions.labels[VIDEO])}
        if missing := [video for video in frames.video_ids if video not in row_of]:
            raise InputError(
                f"{len(missing)} videos have no region in the gallery, {missing[0]} first; make one of them with "
                "'vgeo build-gallery aerial TILES --regions --around FRAMES'"
            )
        return np.array([row_of[video] for video in frames.video_ids], np.int64)
    middles = np.stack([centroid(frames.latlon_deg[a:b]) for a, b in pairwise(frames.clip_first)])
    inside = set(members(regions, Gallery(latlon_deg=middles)).row.tolist())
    if outside := [video for v, video in enumerate(frames.video_ids) if v not in inside]:
        log.warning(
            "%d videos lie in none of the regions, %s first: matched with the nearest; more tiles around them, or "
            "'--regions --around FRAMES', would give them their own",
            len(outside), outside[0],
        )  # fmt: skip
    return np.array([int(np.argmin(distance_km(regions.latlon_deg, middle))) for middle in middles], np.int64)


def _predicted(
    rankings: Rankings, frames: Frames, tiles: Gallery, true_V: Sequence[Ints], held_out: bool
) -> list[Ints]:
    """Rows of the best tile of each clip, video by video; a held-out video that is not in the rankings keeps its own.

    Raises InputError where one to train on is not in them.
    """
    row_of = {name: row for row, name in enumerate(tile_ids(tiles))}
    by_video = best_of_videos(rankings)
    found, missing = [], []
    for video, true in zip(frames.video_ids, true_V, strict=True):
        rows = np.array([row_of[name] for name in by_video.get(video, ()) if name in row_of], np.int64)
        if not len(rows):
            missing.append(video)
        found.append(rows if len(rows) else true)
    if missing and not held_out:
        raise InputError(
            f"the rankings say nothing of {len(missing)} videos, {missing[0]} first; rank all frames that are trained "
            "on with 'vgeo rank'"
        )
    if missing:
        log.warning("%d held-out videos are not in the rankings: judged by the tiles of their places", len(missing))
    return found


def best_of_videos(rankings: Rankings) -> dict[str, list[str]]:
    """The best tile of each clip of each video, in the order of the clips.

    Clips are `<video>_<second>`; what is named otherwise is a video, with the best tiles of its clips, as published.
    """
    clips: dict[str, list[tuple[int, str]]] = {}
    videos: dict[str, list[str]] = {}
    for query, ids in rankings.items():
        if (clip := clip_of(query)) is not None:
            clips.setdefault(clip[0], []).extend((clip[1], name) for name in ids[:1])
        else:
            videos[query] = ids
    return videos | {video: [name for _, name in sorted(said)] for video, said in clips.items()}


def _validator(model: Retriever, store: SequenceStore, regions: Gallery, asked: Request) -> Validate:
    """What measures held-out videos: how far the region that is found is from the right one."""

    def measure(phase: str) -> TileValidation:
        keys_RE = gallery_keys(model, regions, asked.compute.device)
        length = model.recipe(phase).clip_frames or 1
        with measuring(model):
            queries_VE = _embedded(model, store, phase, length)
            best_V = top_k(queries_VE, keys_RE, 1).index_NK[:, 0].cpu().numpy()
        return measured(distance_km(regions.latlon_deg[best_V], regions.latlon_deg[store.region_V]))

    return measure


def _embedded(model: Retriever, store: SequenceStore, phase: str, length: int) -> Tensor:
    """Embed the sequence of each video: [V, E]."""
    rows_V = store.of[phase]
    parts = []
    for number, rows in enumerate(rows_V):
        item = np.r_[number, sequence_of(rows, length)][None]
        clips = store.batch(torch.from_numpy(item), torch.ones(item.shape, dtype=torch.bool))
        parts.append(model.queries(clips)[:, 0].float())
    return torch.cat(parts)
