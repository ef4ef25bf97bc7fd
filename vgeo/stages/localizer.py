"""A model over a gallery, ready to say where clips are. Features go in, a Localization comes out.

Shapes: T frames, D feature width, G gallery rows, E embedding width, K candidates.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.device import Compute
from vgeo.errors import FormatError, InputError
from vgeo.formats.gallery import Gallery
from vgeo.logs import SILENT, Progress
from vgeo.methods._gallery import final_queries
from vgeo.methods.base import Clips
from vgeo.records import Floats, Localization, Track
from vgeo.search.exact import probability_mass, top_k
from vgeo.stages.keys import gallery_keys
from vgeo.stages.models import Model
from vgeo.stages.votes import CANDIDATES, vote, voting_rule

log = logging.getLogger(__name__)

WITHIN_KM = 1.0  # the confidence is the probability that falls so near to the answer
_MOST_ROWS = 4096  # looked through for candidates at distinct places


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipQuery:
    """What is known of a clip before it is localized."""

    video_id: str
    source: str  # the file
    features: Mapping[str, NDArray[np.floating]]  # encoder -> [T, D]
    time_s: Floats  # [T]
    frame_index: NDArray[np.int64] | None = None  # [T]
    start_utc: datetime | None = None


class Localizer:
    """Answers clips one by one; the gallery's keys are embedded, or read, once.

    top_k: candidates a frame. places: name the nearest city of every answer. by_vote: how frames decide on the
    whole clip's city, see `votes.vote`; None is majority, where the gallery names cities.
    Raises InputError for a gallery that the method cannot use, FormatError for keys of another model.
    """

    def __init__(
        self,
        model: Model,
        gallery: Gallery,
        compute: Compute,
        *,
        top_k: int = 5,
        places: bool = True,
        by_vote: str | None = None,
        progress: Progress = SILENT,
    ) -> None:
        if not len(gallery):
            raise InputError("the gallery holds no places; make one with 'vgeo build-gallery'")
        if model.method.gallery_kind == "features" and not gallery.features:
            raise InputError(
                f"method {model.name} compares with reference frames, but the gallery holds positions only; "
                "make one with 'vgeo build-gallery points features.h5 --keep-features'"
            )
        self.rule = voting_rule(by_vote, gallery.labels)
        self.model, self.gallery, self.compute = model, gallery, compute
        self.needed = model.encoders if model.method.encoders else gallery.encoders
        self.top_k, self.places = top_k, places
        self._keys_GE = _near(gallery_keys(model, gallery, compute, progress), compute)

    @torch.inference_mode()
    def __call__(self, clip: ClipQuery) -> Localization:
        """Localize one clip: every frame takes its best place."""
        queries_TE = self._queries(clip)
        index_TK, score_TK, log_total_T = self._candidates(queries_TE)
        probability_TK = torch.exp(self.model.method.scale * score_TK.double() - log_total_T[:, None]).clamp(max=1)
        spread = probability_mass(
            queries_TE,
            self._keys_GE,
            self.gallery.latlon_deg,
            index_TK[:, 0],
            log_total_T,
            scale=self.model.method.scale,
            within_km=WITHIN_KM,
        )
        index, probability = index_TK.cpu().numpy(), probability_TK.cpu().numpy()
        candidates_deg = self.gallery.latlon_deg[index[:, : self.top_k]]
        return Localization(
            track=Track(
                video_id=clip.video_id,
                latlon_deg=candidates_deg[:, 0],
                time_s=clip.time_s,
                start_utc=clip.start_utc,
                frame_index=clip.frame_index,
            ),
            method=self.model.name,
            confidence=spread.confidence_N.cpu().numpy(),
            radius_km=spread.radius_km_N.cpu().numpy(),
            candidates_deg=candidates_deg,
            candidate_scores=probability[:, : self.top_k],
            places=_names(candidates_deg[:, 0]) if self.places else (),
            source=clip.source,
            votes=vote(self.gallery, index, probability, self.rule) if self.rule else None,
        )

    def _queries(self, clip: ClipQuery) -> Tensor:
        """What a clip's frames search with: [T, E] float32 on the device; the model's own layers never run in bf16."""
        features = {}
        for name in self.needed:
            # Half precision, as in a feature file: the answer does not depend on whether there was one between.
            with np.errstate(over="ignore"):
                halves = np.asarray(clip.features[name], np.float16)
            if not np.isfinite(halves).all():
                raise FormatError(f"{clip.source}: features of {name} are not finite; precompute them again")
            features[name] = torch.from_numpy(halves.astype(np.float32))[None].to(self.compute.device)
        mask_1T = torch.ones(1, len(clip.time_s), dtype=torch.bool, device=self.compute.device)
        clips = Clips(features=features, mask_BT=mask_1T)
        return final_queries(self.model.method, clips, self._keys_GE, self.gallery.latlon_deg)[0]

    def _candidates(self, queries_TE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Best rows at distinct places: index [T, K], score [T, K], and the log-sum-exp over the gallery [T].

        A place that fills several rows (GeoCLIP's own gallery repeats 5,877 of its points; a camera stands still)
        counts with its best row. Other than that nothing is suppressed: neighbours of the answer are candidates too.
        """
        wanted = max(self.top_k, CANDIDATES) if self.rule else self.top_k
        most = min(len(self.gallery), _MOST_ROWS)
        rows = min(2 * wanted, most)
        while True:
            found = top_k(queries_TE, self._keys_GE, rows, scale=self.model.method.scale)
            firsts = [_firsts(self.gallery.latlon_deg[row]) for row in found.index_NK.cpu().numpy()]
            fewest = min(map(len, firsts))
            if fewest >= wanted or rows == most:
                break
            rows = min(8 * rows, most)
        k = min(wanted, fewest)
        chosen_TK = torch.from_numpy(np.stack([first[:k] for first in firsts])).to(found.index_NK.device)
        assert found.log_total_N is not None
        return found.index_NK.gather(1, chosen_TK), found.scores_NK.gather(1, chosen_TK), found.log_total_N


def _firsts(latlon_deg: Floats) -> NDArray[np.int64]:
    """Where each distinct position [M, 2] comes first, ascending."""
    _, first = np.unique(latlon_deg[:, 0] + 1j * latlon_deg[:, 1], return_index=True)
    return np.sort(first)


def _near(keys_GE: Tensor, compute: Compute) -> Tensor:
    """Put the keys on the accelerator where they fit into half of its free memory; else they follow chunk by chunk."""
    if compute.device.type != "cuda":
        return keys_GE
    free, _ = torch.cuda.mem_get_info(compute.device)
    return keys_GE.to(compute.device) if keys_GE.numel() * 4 < free / 2 else keys_GE


def _names(latlon_deg: Floats) -> tuple[str, ...]:
    from vgeo.geo.places import nearest_places

    return tuple(nearest_places(latlon_deg))
