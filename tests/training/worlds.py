"""Small feature files with positions, and a method small enough to be understood, for the tests of training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vgeo.encoders.base import EncoderSpec
from vgeo.formats.features import FeatureFile, FeatureWriter
from vgeo.layers.ranks import gather_rows, own_rows, world_size
from vgeo.methods.base import Clips, Places, Recipe, Retriever


def spec(name: str = "gist", dim: int = 8, weights_hash: str = "none") -> EncoderSpec:
    return EncoderSpec(name=name, dim=dim, weights="none", weights_hash=weights_hash, preprocessing="none", settings={})


def write_features(
    path: Path,
    clips: Mapping[str, int] | int = 10,
    *,
    dim: int = 8,
    name: str = "gist",
    seed: int = 0,
    labels: Sequence[Mapping[str, str]] | None = None,
    unknown: float = 0.0,
    weights_hash: str = "none",
) -> FeatureFile:
    """Clips (id -> frames) around 52 N, 0 E whose features are smooth in position, plus noise."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).normal(size=(2, dim)) * 40  # the same world whatever the seed
    if isinstance(clips, int):
        clips = {f"clip{i:02d}": 5 + i for i in range(clips)}
    with FeatureWriter(path, {name: spec(name, dim, weights_hash)}, "1 Hz", "pyav") as writer:
        for i, (video, frames) in enumerate(clips.items()):
            places = np.array([52.0, 0.0]) + rng.normal(0, 0.02, 2) + np.cumsum(rng.normal(0, 1e-4, (frames, 2)), 0)
            features = np.sin((places - [52.0, 0.0]) @ basis) + rng.normal(0, 0.02, (frames, dim))
            places[rng.random(frames) < unknown] = np.nan
            writer.add(video, {name: features}, np.arange(frames), places, labels=labels[i] if labels else None)
        writer.finish(list(clips))
    return FeatureFile.open(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyConfig:
    width: int = 16
    dropout: float = 0.0
    noise: float = 0.0
    clip_frames: int | None = 4
    epochs: int = 3
    batch: int = 4


class Tiny(Retriever):
    """Regresses scaled positions: its loss is a mean over frames, so pieces of a batch must add up to the whole."""

    Config = TinyConfig
    title, paper = "Tiny", "none"
    phases = ("body", "head")

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(config)
        self.body = nn.Linear(8, config.width)
        self.head = nn.Linear(config.width, 2)

    @property
    def encoders(self) -> tuple[str, ...]:
        return ("gist",)

    def points(self, clips: Clips) -> Tensor:
        hidden = F.dropout(torch.tanh(self.body(clips.features["gist"])), self.config.dropout, self.training)
        return self.head(hidden)

    def queries(self, clips: Clips) -> Tensor:
        return _on_sphere(self.points(clips).float())

    def keys(self, places: Places) -> Tensor:
        return _on_sphere(_scaled(places.latlon_deg))

    def recipe(self, phase: str) -> Recipe:
        c = self.config
        return Recipe(
            epochs=c.epochs, batch_clips=c.batch, clip_frames=c.clip_frames, learning_rate=1e-2, decay_per_epoch=0.9,
            warmup_steps=4,
        )  # fmt: skip

    def trainable(self, phase: str) -> list[nn.Parameter]:
        return list((self.body if phase == "body" else self.head).parameters())

    def loss(self, clips: Clips, phase: str, generator: torch.Generator) -> dict[str, Tensor]:
        assert clips.latlon_deg is not None
        target = _scaled(clips.latlon_deg)
        if self.config.noise:
            joined = (world_size() * len(target), *target.shape[1:])
            target = target + self.config.noise * own_rows(torch.randn(joined, generator=generator))
        error_BT = ((self.points(clips).float() - target) ** 2).sum(-1)
        mean = (error_BT * clips.mask_BT).sum() / gather_rows(clips.mask_BT).sum()
        return {"total": mean, "half": mean / 2}


def _scaled(latlon_deg: Tensor) -> Tensor:
    return ((latlon_deg - torch.tensor([52.0, 0.0])) * 30).float()


def _on_sphere(points: Tensor) -> Tensor:
    """Stereographic: nearest in the plane is nearest on the sphere, near the origin."""
    return F.normalize(torch.cat([points, torch.full_like(points[..., :1], 4.0)], -1), dim=-1)


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Equal bit by bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
