"""Nearest reference frame: a frame is where the most similar frame of the gallery was taken.

The oldest idea of image geolocalization (Hays and Efros, Im2GPS, CVPR 2008, with k = 1), over any frozen encoder:
the gallery carries the features of frames whose positions are known (`vgeo build-gallery points features.h5
--keep-features`). There is nothing to train, and it knows no place that the gallery does not hold.

Shapes: B clips, T frames, D feature width, G gallery entries, E embedding width (sum of the encoders' widths).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.methods.base import Clips, Places, Retriever


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestConfig:
    """Settings."""

    temperature: float = 0.02  # of the softmax over cosines that gives probabilities; ours: Im2GPS has none

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError("temperature must be positive")


class Nearest(Retriever):
    """Cosine similarity of frozen features; several encoders weigh the same."""

    Config = NearestConfig
    title = "Nearest reference frame over frozen features"
    paper = "after Hays and Efros, Im2GPS, CVPR 2008"
    gallery_kind = "features"

    @property
    def encoders(self) -> tuple[str, ...]:
        return ()

    @property
    def scale(self) -> float:
        return float(1 / self.config.temperature)

    def queries(self, clips: Clips) -> Tensor:
        return _unit(clips.features)

    def keys(self, places: Places) -> Tensor:
        return _unit(places.features)


def _unit(features: dict[str, Tensor]) -> Tensor:
    """Concatenate normalised features in the order of the encoders' names: [..., D] each -> [..., E] of norm 1."""
    parts = [F.normalize(features[name].float(), dim=-1) for name in sorted(features)]
    return torch.cat(parts, -1) / len(parts) ** 0.5


METHOD = Nearest
