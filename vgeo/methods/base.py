"""The contract of a method. Read this, then copy the smallest file beside it to add your own.

A method answers in one of two ways. A Retriever turns frames into queries and candidate places into keys; a Classifier
turns a window of frames into a probability for each of its places, at several levels. The stages do the rest: they
read features or frames, find the best keys, decode, train and store. A method never reads a file, prints, chooses a
device or parses an option.

Shapes: B clips, T frames, D feature width, H x W pixels of a frame, S pixels of a tile's side, G gallery entries, E
embedding width, L levels of places (finest first), C classes of a level, P groups of scenes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vgeo.encoders._windows import Windows

OWN = "own"  # in place of an encoder: what the method's own backbone gave for windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a batch of clips is labelled with."""

    class_BL: Tensor  # int64, its class at each level; -1 where that is not known
    scene_BP: Tensor | None = None  # share of its frames in each group of scenes; zeros where nothing is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """A batch of clips; those shorter than T are padded, and `mask_BT` is False there.

    They come as features of frozen encoders, or as frames for a method that has a backbone of its own; or as what that
    gave for them, OWN.
    """

    mask_BT: Tensor  # bool, True where there is a frame
    features: dict[str, Tensor] = field(default_factory=dict)  # encoder -> [B, T, D]
    frames_BTHWC: Tensor | None = None  # uint8 RGB
    tiles_BSSC: Tensor | None = None  # uint8 RGB: each clip's place from above; given in training with tiles
    latlon_deg: Tensor | None = None  # [B, T, 2] float64; given in training
    truth: Truth | None = None  # given in training of a Classifier
    share: float = 1.0  # of a step's batch, where it is cut into pieces; a piece's loss is weighed by it

    def frames(self, values_BT: Tensor) -> Tensor:
        """The true frames' rows: [B, T, ...] -> [N, ...]. Single frames are all true: then no device is waited for."""
        return values_BT[:, 0] if self.mask_BT.shape[1] == 1 else values_BT[self.mask_BT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Rows of a gallery: positions, and features of reference frames or pictures from above where it has them."""

    latlon_deg: Tensor  # [G, 2] float64
    features: dict[str, Tensor] = field(default_factory=dict)  # encoder -> [G, D]
    tiles_GSSC: Tensor | None = None  # uint8 RGB


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """How clips are drawn that are trained with the tile of their place; a clip's place is that of a whole second."""

    early_s: float = 0.0  # a clip begins up to so much before its second, evenly drawn
    another: bool = False  # each clip is joined by one of the other half of its video: a hard negative


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one phase of training runs; a method derives it from its Config."""

    epochs: int
    batch_clips: int
    clip_frames: int | None  # frames drawn from each clip; None: single frames of all clips are drawn, T = 1
    learning_rate: float
    decay_per_epoch: float
    milestones: tuple[int, ...] = ()  # epochs, counted from 0, from which on the rate is a tenth of what it was
    warmup_steps: int
    weight_decay: float = 0.0
    contiguous: bool = False  # the frames drawn from a clip are a run of neighbours, not spread over it
    windows: Windows | None = None  # they are one of these windows, each equally likely; overrides both
    pairing: Pairing | None = None  # clips are drawn with their tiles; overrides all of these
    sequence: Literal["true", "predicted"] | None = None  # `clip_frames` tiles of a video: of its places, or predicted


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
    needs: ClassVar[str] = "features"  # or "frames", of which features of a frozen encoder can take the place
    gives: ClassVar[str] = "track"  # or "place"
    # points; "features": points that carry their frames' features; "tiles", "regions": pictures from above; "classes"
    gallery_kind: ClassVar[str] = "points"
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

    @property
    def frame_shape(self) -> tuple[int, int] | None:
        """H and W, where the method takes frames; None: it takes features of `encoders`."""
        return None

    @property
    def windows(self) -> Windows | None:
        """Which rows of features, or frames, of a clip make one prediction; None: each frame makes one."""
        return None

    @property
    def rate_hz(self) -> float | None:
        """Of the frames that `windows` are made of, where the method says so."""
        return None

    def recipe(self, phase: str) -> Recipe:
        """The training recipe of a phase."""
        raise KeyError(phase)

    def begin(self, phase: str) -> None:
        """Called before the first step of a phase; not when a run is resumed within it."""

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

    def rate_factor(self, parameter_name: str) -> float:
        """What the recipe's learning rate is multiplied by for a parameter."""
        return 1.0

    def published_costs(self) -> tuple[PublishedCost, ...]:
        """What a paper says that a model of these settings costs."""
        return ()

    @classmethod
    def debug_config(cls) -> Any:
        """A configuration that is small enough for the contract test to train in seconds."""
        return cls.Config()


class Retriever(Method):
    """A method that compares frames with the places of a gallery.

    One with a `frame_shape` embeds each clip as a whole, and what it gave for one before, OWN, it takes as it is.
    """

    @property
    def embed_dim(self) -> int:
        """E, of one with a `frame_shape`."""
        raise NotImplementedError

    @abstractmethod
    def queries(self, clips: Clips) -> Tensor:
        """Embed frames: [B, T, E], L2-normalised; clips as wholes: [B, 1, E]."""

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

    def moves_keys(self, phase: str) -> bool:
        """True when training in this phase changes what `keys` returns."""
        return True


class Classifier(Method):
    """A method that knows places as classes: of cities, say, and of the states, countries and continents they lie in.

    Its gallery has a row for each class of the finest level, in the order of their ids.
    """

    gives = "place"
    gallery_kind = "classes"

    @property
    @abstractmethod
    def windows(self) -> Windows:
        """As of every method; never None."""

    @abstractmethod
    def adopt(self, up: tuple[Tensor, ...], text_CD: Tensor | None = None) -> None:
        """Take over what the gallery says of the classes; called before training and before use.

        up: for each class of a level, the id of the one it lies in on the next, L-1 steps. text_CD: a vector for each
        class of the finest level, wanted in training only.
        """

    def see(self, features_ND: Tensor) -> None:
        """Look at the rows of features that are trained on, once, before training: at most some thousands of them."""

    @abstractmethod
    def logits(self, clips: Clips) -> tuple[Tensor, ...]:
        """Score the classes for each clip of the batch, a window: L tensors [B, C], finest level first."""

    @abstractmethod
    def decide(self, probability: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Turn softmax probabilities of the levels, each [N, C], into the scores that answers are read from."""

    @abstractmethod
    def answers(self, scores: tuple[Tensor, ...]) -> Tensor:
        """Return the classes that scores lead to, ids of the levels: [N, L]."""
