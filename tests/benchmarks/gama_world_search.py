"""Searching the drives of bench_gama_world.py, and what its table says of that.

Shapes: N queries, G tiles, K places of a ranking, V videos, R regions, E embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.device import Compute
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.geo.sphere import distance_km
from vgeo.metrics import TOLERANCE_MI, distance_mi, first_hits
from vgeo.search.temporal import decode
from vgeo.stages.models import Model
from vgeo.stages.moments import open_moments
from vgeo.stages.regions import how_many
from vgeo.stages.smoothing import slack_of
from vgeo.stages.train_aerial import WITH_TILE
from vgeo.training.data import Frames, usable_frames
from vgeo.training.evaluate import gallery_keys, measuring
from vgeo.training.evaluate_pairs import embed_clips
from vgeo.training.moment_set import MomentSet
from vgeo.training.pair_store import PairStore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Figures = dict[str, float]

CPU = Compute(torch.device("cpu"), torch.float32)
MILES = (0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Searched:
    """Clips and tiles, embedded; what `figures` and the searches need."""

    queries: Tensor  # [N, E]
    keys: Tensor  # [G, E]
    gallery: Gallery
    true: Ints  # [N] row of each query's own tile
    place_deg: Floats  # [N, 2]
    time_s: Floats  # [N]
    video: Ints  # [N] of `videos`
    videos: Sequence[str]


def search(model: Model, frames: str, gallery: Gallery) -> Searched:
    """Embed the clips of a folder of frames that have a tile in the gallery, and the tiles."""
    method = model.retriever
    assert method.rate_hz is not None
    moments = moments_of(frames, gallery, method.rate_hz)
    clips = usable_frames([moments], WITH_TILE)
    store = PairStore.of_method(method, [moments], clips, None, CPU)
    with measuring(method):
        queries_NE = embed_clips(method, store)
    store.close()
    return Searched(
        queries=queries_NE,
        keys=gallery_keys(method, gallery, CPU.device),
        gallery=gallery,
        true=moments.tile_M[clips.row_N],
        place_deg=clips.latlon_deg,
        time_s=moments.time_s[clips.row_N],
        video=_videos(clips),
        videos=clips.video_ids,
    )


def moments_of(frames: str, gallery: Gallery, rate_hz: float) -> MomentSet:
    """The seconds of a folder of frames, with their tiles."""
    return open_moments([frames], gallery, rate_hz)


def _videos(clips: Frames) -> Ints:
    return np.repeat(np.arange(len(clips.video_ids)), np.diff(clips.clip_first))


def gallery_of(part: str, ucn: bool, rate_hz: float = 15.0) -> tuple[str, Gallery]:
    """Frames and gallery that a part is measured on; of the drives trained on as many as are held out, evenly."""
    where = "new/" if part == "new" else ""
    frames = "frames-train" if part == "train" else f"{where}frames-val"
    if ucn:
        whole = read_gallery(f"{where}map.h5")
        seen = moments_of(frames, whole, rate_hz)
        rows = seen.tile_M[_some_of(seen)] if part == "train" else seen.tile_M
        keep = np.zeros(len(whole), bool)
        keep[rows[rows >= 0]] = True
        return frames, whole.take(keep)
    whole = read_gallery("tiles-train.h5" if part == "train" else f"{where}tiles-val.h5")
    if part != "train":
        return frames, whole
    names = np.array([str(name) for name in whole.labels["video"]])
    return frames, whole.take(np.isin(names, _some(list(dict.fromkeys(names.tolist())))))


def _some(videos: Sequence[str]) -> list[str]:
    held = len(set(read_gallery("tiles-val.h5").labels["video"]))
    return [videos[k] for k in np.unique(np.linspace(0, len(videos) - 1, held).round().astype(int))]


def _some_of(moments: MomentSet) -> NDArray[np.bool_]:
    chosen = np.isin(moments.video_ids, _some(moments.video_ids))
    return np.repeat(chosen, np.diff(moments.first_row))


def figures(ranked_NK: Ints, found: Searched, ucn: bool = False) -> Figures:
    """A line of the table, in percent and metres: a tile within 0.05 mile counts too, of UCN only the own one."""
    true_N1, places, size = found.true[:, None], found.gallery.latlon_deg, len(found.gallery)
    own = first_hits(ranked_NK, true_N1)
    near = own if ucn else first_hits(ranked_NK, true_N1, places, found.place_deg, TOLERANCE_MI)
    said = {"exact": percent(own == 0)}
    for name, k in (("R@1", 1), ("R@5", 5), ("R@10", 10), ("R@1%", max(1, size // 100))):
        said[name] = percent((near >= 0) & (near < k)) if k <= ranked_NK.shape[1] else float("nan")
    first = np.maximum(ranked_NK[:, 0], 0)
    miles = np.where(ranked_NK[:, 0] >= 0, distance_mi(places[first], found.place_deg), np.inf)
    said |= {f"{limit} mi": percent(miles <= limit) for limit in MILES}
    return said | {"median m": float(np.median(1000 * distance_km(places[first], found.place_deg)))}


def chance(place_deg: Floats, true: Ints, gallery: Gallery, ucn: bool = False, within_mi: float = np.inf) -> Figures:
    """The line that rankings drawn at random would have, expected.

    place_deg: [N, 2] of the queries. within_mi: of only those tiles that are so near, as of one's own city.
    """
    far_NG = distance_mi(place_deg[:, None], gallery.latlon_deg[None])
    there_NG = far_NG <= within_mi
    own_NG = np.arange(len(gallery)) == true[:, None]
    right_N, size_N = (own_NG if ucn else own_NG | (far_NG <= TOLERANCE_MI)).sum(1), there_NG.sum(1)
    said = {"exact": percent(1 / size_N)}
    for name, k in (("R@1", 1), ("R@5", 5), ("R@10", 10), ("R@1%", max(1, len(gallery) // 100))):
        drawn = np.arange(k)
        left_Nk = np.maximum(size_N[:, None] - drawn, 1)
        said[name] = percent(1 - np.clip((left_Nk - right_N[:, None]) / left_Nk, 0, 1).prod(axis=1))
    said |= {f"{limit} mi": percent((far_NG <= limit).sum(1) / size_N) for limit in MILES}
    return said | {"median m": float(1000 * np.median(distance_km(place_deg[:, None], gallery.latlon_deg)[there_NG]))}


def chance_of(part: str, ucn: bool, within_mi: float = np.inf) -> Figures:
    """The same for a part of the world."""
    frames, gallery = gallery_of(part, ucn)
    moments = open_moments([frames], gallery, None)
    shown = moments.tile_M >= 0
    return chance(moments.latlon_deg[shown], moments.tile_M[shown], gallery, ucn, within_mi)


def percent(hits: NDArray[np.bool_] | Floats) -> float:
    return float(100 * np.mean(hits))


def path(found: Searched, ranked_NK: Ints, scores_NK: Tensor, total_N: Tensor, scale: float) -> Ints:
    """The tiles [N, 1] of the likeliest path through each video's candidates, as `localize --smooth viterbi` takes."""
    log_p = (scale * scores_NK.double() - total_N[:, None]).numpy()
    log_p = np.where(ranked_NK >= 0, log_p, -np.inf)
    chosen, slack_km = np.zeros(len(log_p), np.int64), slack_of(found.gallery, None)
    for video in range(len(found.videos)):
        rows = np.flatnonzero(found.video == video)
        candidates = found.gallery.latlon_deg[np.maximum(ranked_NK[rows], 0)]
        decoded = decode(candidates, log_p[rows], found.time_s[rows], slack_km=slack_km)
        chosen[rows] = ranked_NK[rows, decoded.chosen_T]
    return chosen[:, None]


def region_figures(regions_VR: Ints, found: Searched, regions: Gallery) -> Figures:
    """Video-level recall (table 4), and how often a kept region holds the own tile, of the clips."""
    names = [str(name) for name in regions.labels["video"]]
    own_V = np.array([names.index(video) for video in found.videos])
    rank_V = (regions_VR == own_V[:, None]).argmax(1)
    return {f"R@{k}": percent(rank_V < how_many(k, len(regions))) for k in ("1", "5", "10%")}
