"""A model over a gallery, ready to say where clips are. Features go in, a Localization comes out.

Shapes: T frames, D feature width, G gallery rows, E embedding width, K candidates.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.device import Compute
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError
from vgeo.formats.gallery import Gallery
from vgeo.logs import SILENT, Progress
from vgeo.methods._gallery import queries_after
from vgeo.methods.base import OWN, Clips
from vgeo.records import Floats, Localization, Track
from vgeo.stages.hierarchy import HierarchicalGallery, Screen
from vgeo.stages.method_encoder import own_spec
from vgeo.stages.models import Model
from vgeo.stages.searches import gallery_search
from vgeo.stages.smoothing import CANDIDATES as PATHS
from vgeo.stages.smoothing import Smoothing, first_candidates, slack_of, smoothed
from vgeo.stages.votes import CANDIDATES, vote, voting_rule

log = logging.getLogger(__name__)

WITHIN_KM = 1.0  # the confidence is the probability that falls so near to the answer


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
    whole clip's city, see `votes.vote`; None is majority, where the gallery names cities. refine_km: how near to each
    other the places that are found may lie, where the gallery's are further apart; None: they are the gallery's.
    screen: finds the regions of a gallery of tiles in which clips are searched for once more. smoothing: frames agree
    on a path through their candidates; None: each takes its best place.
    Raises InputError for a gallery that the method cannot use, FormatError for keys of another model, SettingError for
    a model that cannot refine.
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
        refine_km: float | None = None,
        screen: Screen | None = None,
        smoothing: Smoothing | None = None,
        progress: Progress = SILENT,
    ) -> None:
        if not len(gallery):
            raise InputError("the gallery holds no places; make one with 'vgeo build-gallery'")
        if model.method.gallery_kind == "features" and not gallery.features:
            raise InputError(
                f"method {model.name} compares with reference frames, but the gallery holds positions only; "
                "make one with 'vgeo build-gallery points features.h5 --keep-features'"
            )
        if model.method.gallery_kind == "tiles" and gallery.attributes.get("kind") != "tiles":
            raise InputError(
                f"{model.name} searches tiles, and the gallery is one of {gallery.attributes.get('kind', 'points')}; "
                "make one with 'vgeo build-gallery aerial TILES'"
            )
        self.rule = voting_rule(by_vote, gallery.labels)
        self.model, self.gallery, self.compute = model, gallery, compute
        self.needed = needed_by(model, gallery)
        self.top_k, self.places = top_k, places
        self.refine_km = refine_km
        self.screen = screen
        self.smoothing = smoothing
        self._slack_km = 0.0 if smoothing is None else slack_of(gallery, refine_km)
        self.search = (
            gallery_search(model, gallery, compute, refine_km, progress)
            if screen is None
            else HierarchicalGallery(model, gallery, screen, compute, progress)
        )

    @torch.inference_mode()
    def __call__(self, clip: ClipQuery) -> Localization:
        """Localize one clip: every frame takes its best place, or that on the best path."""
        queries_TE, first_TE = self.queries(clip)
        rows = CANDIDATES if self.rule else 1  # of the gallery, that votes look at
        k = self.top_k if self.smoothing is None else max(self.top_k, PATHS)
        found = self.search(queries_TE, first_TE, k=k, rows=rows, within_km=WITHIN_KM)
        said = Localization(
            track=Track(
                video_id=clip.video_id,
                latlon_deg=found.candidates_deg[:, 0],
                time_s=clip.time_s,
                start_utc=clip.start_utc,
                frame_index=clip.frame_index,
            ),
            method=self.model.name,
            confidence=found.spread.confidence_N.cpu().numpy(),
            radius_km=found.spread.radius_km_N.cpu().numpy(),
            candidates_deg=found.candidates_deg,
            candidate_scores=found.probability_TK,
            source=clip.source,
            votes=vote(self.search.gallery, found.row_TK, found.row_probability_TK, self.rule) if self.rule else None,
        )
        if self.smoothing is not None:
            said = smoothed(said, self.smoothing, slack_km=self._slack_km, within_km=WITHIN_KM)
            said = first_candidates(said, self.top_k)
        return replace(said, places=_names(said.track.latlon_deg)) if self.places else said

    def queries(self, clip: ClipQuery) -> tuple[Tensor, Tensor | None]:
        """What a clip's frames search with, and what they did before where they search twice: [T, E] float32.

        On the device; the model's own layers never run in bf16.
        """
        features = {}
        for name in self.needed:
            # Half precision, as in a feature file: the answer does not depend on whether there was one between.
            with np.errstate(over="ignore"):
                halves = np.asarray(clip.features[name], np.float16)
            if not np.isfinite(halves).all():
                raise FormatError(
                    f"{clip.source}: features of {name} of {clip.video_id} are not finite; precompute them again"
                )
            features[name] = torch.from_numpy(halves.astype(np.float32))[None].to(self.compute.device)
        mask_1T = torch.ones(1, len(clip.time_s), dtype=torch.bool, device=self.compute.device)
        clips = Clips(features=features, mask_BT=mask_1T)
        queries, first = queries_after(self.model.retriever, clips, self.search.best, self.search.width)
        return queries[0], None if first is None else first[0]


def needed_by(model: Model, gallery: Gallery) -> Mapping[str, EncoderSpec]:
    """What a clip's rows must be features of: the model's encoders, those of the gallery, or the model itself, OWN."""
    if model.method.frame_shape is not None:
        return {OWN: own_spec(model)}
    return model.encoders if model.method.encoders else gallery.encoders


def _names(latlon_deg: Floats) -> tuple[str, ...]:
    from vgeo.geo.places import nearest_places

    return tuple(nearest_places(latlon_deg))
