"""The contract of a method. Read this, then copy the smallest file beside it to add your own.

A method turns frames into queries and candidate places into keys; the stages do the rest: they read features, find
the best keys, decode, train and store. A method never reads a file, prints, chooses a device or parses an option.

Shapes: B clips, T frames, D feature width, G gallery entries, E embedding width.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """A batch of clips as features; clips shorter than T are padded, and `mask_BT` is False there."""

    features: dict[str, Tensor]  # encoder -> [B, T, D]
    mask_BT: Tensor  # bool, True where there is a frame
    latlon_deg: Tensor | None = None  # [B, T, 2] float64; given in training

    def frames(self, values_BT: Tensor) -> Tensor:
        """The true frames' rows: [B, T, ...] -> [N, ...]. Single frames are all true: then no device is waited for."""
        return values_BT[:, 0] if self.mask_BT.shape[1] == 1 else values_BT[self.mask_BT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Rows of a gallery: positions and, where the gallery was made of reference frames, their features."""

    latlon_deg: Tensor  # [G, 2] float64
    features: dict[str, Tensor] = field(default_factory=dict)  # encoder -> [G, D]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one phase of training runs; a method derives it from its Config."""

    epochs: int
    batch_clips: int
    clip_frames: int | None  # frames drawn from each clip; None: single frames of all clips are drawn, T = 1
    learning_rate: float
    decay_per_epoch: float
    warmup_steps: int
    weight_decay: float = 0.0
    contiguous: bool = False  # the frames drawn from a clip are a run of neighbours, not spread over it


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCost:
    """A figure of a paper that `vgeo methods NAME --costs` puts beside what it counts."""

    source: str  # paper and table
    quantity: Literal["trainable", "macs_per_frame"]
    phase: str = ""  # whose trainable parameters
    value: float
    note: str


class Method(nn.Module, ABC):
    """Base of all methods. Each file ends in `METHOD = TheClass`."""

    Config: ClassVar[type]  # frozen, slotted, keyword-only dataclass; default = the paper's, comment = its section
    title: ClassVar[str]  # "GeoCLIP: clip-inspired alignment ..."
    paper: ClassVar[str]  # authors, venue, year, arXiv number
    needs: ClassVar[str] = "features"  # or "frames"
    gives: ClassVar[str] = "track"  # or "place"
    gallery_kind: ClassVar[str] = "points"  # or "features": points that carry their frames' features
    phases: tuple[str, ...] = ()  # names of training phases, fewer where settings say so; none: nothing to train
    license_note: ClassVar[str] = ""  # of the released weights, where there are any

    config: Any

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @property
    @abstractmethod
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders whose features this instance reads; () when it takes what the gallery holds."""

    @abstractmethod
    def queries(self, clips: Clips) -> Tensor:
        """Embed frames: [B, T, E], L2-normalised."""

    @abstractmethod
    def keys(self, places: Places) -> Tensor:
        """Embed gallery rows: [G, E], L2-normalised."""

    @property
    def scale(self) -> float:
        """Factor on cosine similarities before a softmax over the gallery turns them into probabilities."""
        return 1.0

    @property
    def level_radii_km(self) -> tuple[float, ...]:
        """Radii of the levels at which places have keys, falling; () when `keys` are the only ones.

        A level's keys tell of places up to about its radius off, so that a gallery of that spacing can be searched with
        them. Those of the last level are `keys`. The queries are the same for all.
        """
        return ()

    def level_keys(self, places: Places, level: int) -> Tensor:
        """Embed gallery rows for one of the levels: [G, E], L2-normalised."""
        raise IndexError(level)

    def level_scale(self, level: int) -> float:
        """What `scale` is for the keys of a level."""
        raise IndexError(level)

    @property
    def refines(self) -> bool:
        """True when `refined` answers once more, after the best places of `queries` are known."""
        return False

    def refined(self, clips: Clips, latlon_BT2: Tensor) -> Tensor:
        """Embed frames again, given each one's first answer (degrees float64): [B, T, E], L2-normalised.

        Searched for among the same keys; what comes out is the answer.
        """
        raise NotImplementedError

    def recipe(self, phase: str) -> Recipe:
        """The training recipe of a phase."""
        raise KeyError(phase)

    def begin(self, phase: str) -> None:
        """Called before the first step of a phase; not when a run is resumed within it."""

    def moves_keys(self, phase: str) -> bool:
        """True when training in this phase changes what `keys` returns."""
        return True

    def loss(self, clips: Clips, phase: str, generator: torch.Generator) -> dict[str, Tensor]:
        """Loss terms of a batch; "total" is what is minimised. All randomness comes from `generator`.

        Where several processes train, `clips` is this one's part of the batch, perhaps filled up with clips whose mask
        is False throughout, and every term is this one's part: they sum to the term of the joined batch. What that
        needs of the others, layers/ranks.py gathers. The generator says the same in all: draw for the joined batch, of
        `world_size()` times as many clips, and take `own_rows`. A step must not wait for the device: no `.item()`, no
        indexing with a mask.
        """
        raise KeyError(phase)

    def trainable(self, phase: str) -> list[nn.Parameter]:
        """Parameters that the phase optimises."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def published_costs(self) -> tuple[PublishedCost, ...]:
        """What a paper says that a model of these settings costs."""
        return ()

    @classmethod
    def debug_config(cls) -> Any:
        """A configuration that is small enough for the contract test to train in seconds."""
        return cls.Config()
