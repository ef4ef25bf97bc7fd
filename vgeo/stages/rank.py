"""The steps of GAMa's hierarchical search one by one, each with a file that can be looked at (ECCV 2022, sec. 4.2).

Clips rank tiles; a screening network ranks regions for the tiles that were first for a video's clips; clips rank the
tiles of the best regions. `localize` does all of it at once.

Shapes: Q queries (clips of all videos), T clips of a video, K tiles ranked.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vgeo.device import announce, choose
from vgeo.encoders._windows import second_of
from vgeo.errors import InputError, UsageError
from vgeo.formats.checkpoints import GALLERY
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.formats.gama_lists import clip_id
from vgeo.formats.rankings import Rankings, ranked
from vgeo.logs import SILENT, Progress
from vgeo.search.exact import top_k
from vgeo.search.hierarchical import top_k_within
from vgeo.stages.batch import Batch
from vgeo.stages.hierarchy import KEEP, RegionRanking, read_screen
from vgeo.stages.localize import prepare
from vgeo.stages.localize_inputs import PathLike, find_tasks
from vgeo.stages.localize_models import DEFAULT_MODELS, SCREENING, default_model
from vgeo.stages.localizer import ClipQuery, Localizer
from vgeo.stages.models import Model, load_model
from vgeo.stages.regions import how_many, kept_regions, members, region_ids, tile_ids
from vgeo.stages.searches import ExactGallery
from vgeo.stages.train_inputs import DEFAULT_GALLERY
from vgeo.stages.train_regions import best_of_videos

log = logging.getLogger(__name__)

TOP = "100"  # of the tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """Which part of the gallery each video's clips are to rank."""

    rankings: Rankings  # video -> regions
    regions: Gallery
    keep: str = KEEP  # how many of the regions, or which share of all


def rank_clips(
    inputs: PathLike | Sequence[PathLike] = (),
    model: PathLike | Model | None = None,
    gallery: PathLike | Gallery | None = None,
    *,
    top: str = TOP,
    within: Within | None = None,
    split: str | None = None,
    settings: Sequence[str] = (),
    device: str = "auto",
    precision: str = "auto",
    decoder: str = "pyav",
    batch: Batch | None = None,
    progress: Progress = SILENT,
) -> Rankings:
    """Rank tiles for every clip of videos: {<video>_<second>: [tile ids, best first]}.

    inputs, model, gallery, split, settings, device, precision, decoder: as of `localize`. top: how many tiles are kept
    of each ranking, or which share of the gallery. within: rank only the tiles of each video's best regions, of which
    there may be fewer. batch: takes the outcomes; without it the first error is raised.
    Raises InputError, also when nothing could be ranked, FormatError, SettingError, MissingModelError, UsageError.
    """
    batch = batch or Batch(fail_fast=True)
    loaded = model if isinstance(model, Model) else load_model(default_model(model), settings=settings)
    if loaded.method.gallery_kind != "tiles":
        raise UsageError(
            f"{loaded.name} does not rank tiles for clips; give a model of gama with --model, or rankings (.json) to "
            "one of screening"
        )
    prepared = prepare(
        find_tasks(inputs, split), loaded, gallery, top_k=1, places=False, screening="none", device=device,
        precision=precision, decoder=decoder, progress=progress,
    )  # fmt: skip
    assert isinstance(prepared.localizer, Localizer)
    ranker = _Ranker(prepared.localizer, top, within)
    names, rows = list[str](), list[NDArray[np.int32]]()
    progress.start("rank", len(prepared.tasks), "clips")
    with prepared.streams(prepared.tasks) as streams:
        for task in prepared.tasks:
            with batch.item(task.name) as item:
                query = prepared.query(task, streams, item, progress)
                rows.append(ranker(query))
                names += [clip_id(query.video_id, second) for second in second_of(query.time_s).tolist()]
    if not names:
        raise InputError("no clip could be ranked; nothing is written")
    log.info("%d clips of %d videos, %d tiles each at most", len(names), len(rows), ranker.count)
    return ranked(names, ranker.ids, np.concatenate(rows))


class _Ranker:
    """Ranks the tiles of a gallery for the clips of one video."""

    def __init__(self, localizer: Localizer, top: str, within: Within | None) -> None:
        search = localizer.search
        assert isinstance(search, ExactGallery)
        self._localizer, self._keys_GE, self._within = localizer, search.keys, within
        self.ids = tile_ids(localizer.gallery)
        self.count = how_many(top, len(self.ids))
        self._members = None if within is None else members(within.regions, localizer.gallery)

    @torch.inference_mode()
    def __call__(self, query: ClipQuery) -> NDArray[np.int32]:
        """Rows of the gallery [T, K], NONE where fewer are left. Raises InputError for a video without regions."""
        queries_TE, _ = self._localizer.queries(query)
        if self._within is None or self._members is None:
            found = top_k(queries_TE, self._keys_GE, self.count)
        else:
            of = self._within
            kept = kept_regions(of.rankings, [query.video_id], of.regions, of.keep)
            video = np.zeros(len(queries_TE), np.int64)
            found = top_k_within(queries_TE, self._keys_GE, video, kept, self._members, self.count)
        return found.index_NK.cpu().numpy().astype(np.int32)


def rank_regions(
    rankings: Rankings,
    model: PathLike | Model,
    tiles: Gallery,
    regions: Gallery | None = None,
    *,
    top: str = TOP,
    settings: Sequence[str] = (),
    device: str = "auto",
    precision: str = "auto",
    progress: Progress = SILENT,
) -> Rankings:
    """Rank regions for every video, by the tiles that came first for its clips: {video: [region ids, best first]}.

    rankings: of clips, `<video>_<second>` -> tiles; or sequences as published, video -> the best tiles of its clips.
    regions: None: the model's own. top: how many are kept, or which share of all.
    Raises InputError where no tile of a video is in the gallery, FormatError, UsageError.
    """
    loaded = model if isinstance(model, Model) else load_model(model, settings=settings)
    if loaded.method.gallery_kind != "regions":
        raise UsageError(f"{loaded.name} does not rank regions for rankings; give a model of screening with --model")
    screen = read_screen(loaded, regions)
    compute = choose(device, precision)
    announce(compute)
    ids = region_ids(screen.regions)
    row_of = {name: row for row, name in enumerate(tile_ids(tiles))}
    videos = best_of_videos(rankings)
    rank = RegionRanking(screen, tiles, compute, progress)
    count, found = how_many(top, len(ids)), list[NDArray[np.int64]]()
    progress.start("rank", len(videos), "videos")
    for video, names in videos.items():
        rows = np.array([row_of[name] for name in names if name in row_of], np.int64)
        if not len(rows):
            raise InputError(
                f"video {video}: the gallery holds none of its {len(names)} tiles"
                + (f", {names[0]} first; give the one that was ranked with --tiles" if names else "")
            )
        found.append(rank(rows, count))
        progress.advance(1, video)
    return ranked(list(videos), ids, np.stack(found))


def read_tiles(path: Path | None) -> Gallery:
    """The given gallery of tiles, that of the model of gama that was trained here, or gallery.h5. Raises InputError."""
    if path is None:
        own = DEFAULT_MODELS / "gama" / GALLERY
        path = own if own.exists() else DEFAULT_GALLERY
    gallery = read_gallery(path)
    tile_ids(gallery)
    return gallery


def read_within(rankings: Rankings, path: Path | None, keep: str | None) -> Within:
    """Rankings with the given gallery of regions, or that of the screening network that was trained here."""
    if path is None:
        path = DEFAULT_MODELS / SCREENING / GALLERY
        if not path.exists():
            raise InputError(f"{path}: no such file; give the gallery of regions that were ranked with --regions")
    regions = read_gallery(path)
    region_ids(regions)
    return Within(rankings=rankings, regions=regions, keep=keep or KEEP)
