"""What says in which of the 16 groups of scenes a frame is: a Places365 network, or CLIP by the groups' names.

Either is an encoder of frames and a matrix that turns its features into 16 scores, whose highest wins.

Shapes: B frames, H x W pixels, D features (of Places365: its 365 probabilities).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vgeo.device import Compute
from vgeo.encoders._hub import WITHOUT_WEIGHTS
from vgeo.encoders.base import Encoder
from vgeo.errors import FormatError, MissingModelError, UsageError
from vgeo.formats.scene_groups import read_scene_groups
from vgeo.formats.scenes import GROUPS
from vgeo.stages.encode import load_encoders

log = logging.getLogger(__name__)

CLIP = "clip"
TABLE = "https://docs.google.com/spreadsheets/d/1H7ADoEIGgbF_eXh9kcJjCs5j_r3VJwke4nebhkdzksg/export?format=csv"
# What Places365's hierarchy says of each group, in words that CLIP may have met under a picture. These are our own.
DESCRIPTIONS = dict(
    zip(
        GROUPS,
        (
            "the inside of a shop, a market hall or a restaurant",
            "the inside of a workplace, such as an office, a factory or a laboratory",
            "the inside of a home or a hotel",
            "the inside of a vehicle, a station or an airport terminal",
            "the inside of a place for sports or leisure",
            "the inside of a museum, a school, a church, a theater or a courthouse",
            "nature with water, ice or snow",
            "nature with mountains, hills, desert or sky",
            "nature with a forest, a field or a jungle",
            "nature with something man-made in it",
            "a road, a parking lot, a bridge, a harbor or an airport, outdoors",
            "a cultural, historical, religious or military building or place, seen from outside",
            "a sports field, a park or another place for leisure, outdoors",
            "an industrial area or a construction site",
            "houses, cabins, gardens or farms, seen from outside",
            "a city or a town with commercial buildings, shops or markets, outdoors",
        ),
        strict=True,
    )
)
PROMPT = "a photo of {}."  # Radford et al., sec. 3.1.4


@dataclass(frozen=True, slots=True)
class SceneClassifier:
    """An encoder on its device, and scores of the groups by its features [D, 16], there too."""

    encoder: Encoder
    scores_DG: Tensor

    def __call__(self, frames_BHWC: Tensor) -> NDArray[np.int64]:
        """Numbers [B] of the groups that RGB frames, uint8 [B, H, W, 3], are in. Raises FormatError."""
        scores_BG = self.encoder(frames_BHWC) @ self.scores_DG
        if not scores_BG.isfinite().all():
            spec = self.encoder.spec
            raise FormatError(f"{spec.weights}: {spec.name} gives no numbers for a frame; its weights are damaged")
        groups: NDArray[np.int64] = scores_BG.argmax(dim=1).cpu().numpy()
        return groups


def load_scene_classifier(
    name: str,
    compute: Compute,
    *,
    groups: Path | None = None,
    weights: Mapping[str, str] | None = None,
    settings: Sequence[str] = (),
    offline: bool = False,
) -> SceneClassifier:
    """Load what labels frames.

    name: "clip" or "clip:VARIANT" as encoders are named, or the file of a ResNet's weights, trained on Places365.
    groups: with such a file, the table of its categories' groups; see `read_scene_groups`. weights, settings: of clip.
    Raises UsageError, InputError, FormatError or MissingModelError.
    """
    if name.partition(":")[0] == CLIP:
        if groups is not None:
            raise UsageError(f"--groups {groups}: goes with a Places365 network, not with clip; leave it out")
        return _by_names(name, compute, weights or {}, settings, offline)
    if weights or settings:
        raise UsageError(f"--{'weights' if weights else 'set'}: goes with --classifier clip, not with {name}")
    if groups is None:
        raise UsageError(f"--classifier {name}: give the groups of its categories too, as --groups TABLE; get {TABLE}")
    return _of_places365(Path(name), groups, compute)


def _of_places365(path: Path, groups: Path, compute: Compute) -> SceneClassifier:
    from vgeo.encoders._places365 import load_places365

    scores_DG = torch.from_numpy(read_scene_groups(groups))
    encoder = load_places365(path, compute)
    log.info("scenes by %s, %s", encoder.spec.name, path)
    return SceneClassifier(encoder, scores_DG.to(compute.device))


def _by_names(
    name: str, compute: Compute, weights: Mapping[str, str], settings: Sequence[str], offline: bool
) -> SceneClassifier:
    """CLIP's image embeddings against those of the 16 descriptions, by the two towers of the same weights."""
    from vgeo.encoders import clip
    from vgeo.encoders._text import load_text

    try:
        (encoder,) = load_encoders([name], compute, weights=weights, settings=settings, offline=offline).values()
        variant = name.partition(":")[2] or clip.REPOSITORY
        text = load_text(f"{CLIP}:{variant}", compute, weights=weights.get(name), offline=offline)
    except MissingModelError as error:
        another = (
            f"\n  or take another classifier: --classifier PATH, a Places365 network, with --groups TABLE ({TABLE})"
        )
        raise MissingModelError(str(error).replace(WITHOUT_WEIGHTS, "") + another) from error
    if text.spec.dim != encoder.spec.dim:
        raise FormatError(
            f"{encoder.spec.weights}: pictures become {encoder.spec.dim} numbers, texts {text.spec.dim}; not one model"
        )
    vectors_GD = text([PROMPT.format(description) for description in DESCRIPTIONS.values()])
    log.info(
        "scenes by %s, zero-shot: labels of vgeo's own, CityGuessr's are by a Places365 network", encoder.spec.name
    )
    return SceneClassifier(encoder, functional.normalize(vectors_GD, dim=1).T)
