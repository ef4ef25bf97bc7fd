"""What a method costs: parameters and multiply-accumulates of its parts, counted without weights and without data.

The parts are the children of the method's module. What runs is the contract itself (queries, refined, keys; logits of a
method that knows classes), on tensors that have a shape and no numbers, so that a method needs to say nothing to be
counted.

Shapes: T frames of one clip, S pixels of a frame's side, E embedding width, B, C, H, W pixels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from vgeo import encoders, methods
from vgeo.errors import SettingError, first_line
from vgeo.formats.picture_place import PICTURED
from vgeo.geo.tiles import TILE_PX
from vgeo.layers.costs import macs_by_part, numbers, switches_on_cpu
from vgeo.methods.base import Classifier, Clips, Method, Places, PublishedCost, Retriever
from vgeo.methods.settings import given, resolve, to_dict

CONVENTION = (
    "multiply-accumulates of matrix products and convolutions alone; retrieval is not among them, keys of the gallery "
    "are computed once a place"
)
WINDOW_CONVENTION = (
    "multiply-accumulates of matrix products and convolutions alone, of an answer; training alone has more"
)
BETWEEN = "between the parts"
TRAINING_ALONE = "runs in training alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartCost:
    """One part of a method, or one of the frozen encoders whose features it reads."""

    name: str
    kind: Literal["encoder", "part"]
    parameters: int | None  # None where nothing can be counted
    trainable: dict[str, int]  # phase -> parameters that it trains
    buffers: int  # fixed numbers, such as the frequencies of Fourier features
    macs_per_frame: int | None  # of the first answer
    macs_per_frame_refining: int  # of a second answer, where the method refines its first
    macs_per_place: int  # of one of the gallery's places, once
    macs_per_window: int | None = None  # of an answer, in place of those of a frame, where it is one for a window
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCosts:
    """All parts of one method at its settings."""

    settings: dict[str, Any]  # as given
    clip_frames: int
    parts: tuple[PartCost, ...]
    refines: bool
    embed_dim: int | None  # None: that of the features of whatever gallery it is given
    published: tuple[PublishedCost, ...]
    window: str = ""  # what one answer is read from, where that is not a frame: "16 frames"

    @property
    def convention(self) -> str:
        """What was counted, and of what."""
        return WINDOW_CONVENTION if self.window and not self.macs_per_place else CONVENTION

    @property
    def macs_per_window(self) -> int:
        """Of encoders and parts, for one answer of a method that answers for windows."""
        return sum(part.macs_per_window or 0 for part in self.parts)

    @property
    def macs_per_place(self) -> int:
        """Of all parts, once for each of the gallery's places."""
        return sum(part.macs_per_place for part in self.parts)

    @property
    def macs_per_frame(self) -> int:
        """Of encoders and parts, for the first answer and the second."""
        return sum((part.macs_per_frame or 0) + part.macs_per_frame_refining for part in self.parts)

    @property
    def trainable(self) -> dict[str, int]:
        """Parameters that each phase trains."""
        total: Counter[str] = Counter()
        for part in self.parts:
            total.update(part.trainable)
        return dict(total)

    @property
    def not_counted(self) -> list[str]:
        """Names of encoders whose shape is not known without their weights."""
        return [part.name for part in self.parts if part.parameters is None]

    def ours(self, figure: PublishedCost) -> int:
        """What is counted here for a published figure."""
        return self.macs_per_frame if figure.quantity == "macs_per_frame" else self.trainable.get(figure.phase, 0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "settings": self.settings,
            "clip_frames": self.clip_frames,
            "convention": self.convention,
            "parts": [asdict(part) for part in self.parts],
            "total": {
                "parameters": sum(part.parameters or 0 for part in self.parts),
                "trainable": self.trainable,
                "macs_per_frame": self.macs_per_frame,
                "macs_per_place": self.macs_per_place,
                "macs_per_window": self.macs_per_window if self.window else None,
                "not_counted": self.not_counted,
            },
            "window": self.window or None,
            "retrieval": {"macs_per_frame_and_place": self.embed_dim, "times": 2 if self.refines else 1},
            "published": [asdict(figure) | {"ours": self.ours(figure)} for figure in self.published],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """Multiply-accumulates by part: of a clip's first answer, of its second, of one place; or of a window's answer."""

    frame: Counter[str] = field(default_factory=Counter)
    refining: Counter[str] = field(default_factory=Counter)
    place: Counter[str] = field(default_factory=Counter)
    window: Counter[str] | None = None  # None: the method answers for frames
    embed_dim: int | None = None  # E


def count_costs(name: str, settings: Sequence[str] = (), clip_frames: int = 16) -> MethodCosts:
    """Count what a method and the encoders of its settings cost, for clips of `clip_frames` frames.

    A method that knows classes, or takes frames itself, answers for windows of its own length.

    settings: `key=value`. Raises UsageError for an unknown method or encoder, SettingError.
    """
    cls = methods.get(name)
    config: Any = resolve(cls.Config, None, settings)
    try:
        with torch.device("meta"):  # where some backbones can be built, which cannot among fake tensors
            method = cls(config).eval()
        with FakeTensorMode(allow_non_fake_inputs=True):
            method.to_empty(device="cpu")
    except (RuntimeError, TypeError, OverflowError) as error:
        raise SettingError(f"{name} cannot be built with these settings ({first_line(error)})") from error
    switches_on_cpu(method)
    if method.phases:
        method.begin(method.phases[-1])  # what is trained last is what answers
    widths = _declared_widths(method)
    backbones = [_encoder_cost(encoder, width) for encoder, width in widths.items()]
    windows = method.windows
    if windows is not None:
        clip_frames = windows.length
        backbones = [_of_window(cost, clip_frames) for cost in backbones]
    counted = _count_answers(method, widths, clip_frames)
    chosen = given(cls.Config, None, settings)
    return MethodCosts(
        settings={key: value for key, value in to_dict(config).items() if key in chosen},
        clip_frames=clip_frames,
        parts=(*backbones, *_part_costs(method, counted, clip_frames)),
        refines=_refines(method),
        embed_dim=counted.embed_dim,
        published=method.published_costs(),
        window="" if windows is None else _describe_window(windows.length, widths),
    )


def _refines(method: Method) -> bool:
    return isinstance(method, Retriever) and method.refines


def _describe_window(length: int, widths: dict[str, int]) -> str:
    many = "s" * (length > 1)
    return f"{length} row{many} of {', '.join(widths)} features" if widths else f"{length} frame{many}"


def _declared_widths(method: Method) -> dict[str, int]:
    """Width of each encoder's features, as the settings say."""
    several = getattr(method.config, "feature_dims", None)
    return dict(zip(method.encoders, several or [getattr(method.config, "feature_dim", 0)], strict=False))


def _encoder_cost(name: str, declared: int) -> PartCost:
    """The cost of a frozen backbone. Raises SettingError when its features are not as wide as the settings say."""
    found = encoders.skeleton(name)
    if found is None:
        note = "not counted: its shape is known only with its weights"
        return _frozen(name, parameters=None, buffers=0, macs_per_frame=None, note=note)
    features: list[Tensor] = []
    with torch.device("meta"):
        pixels = torch.zeros(1, *found.shape)
        macs = macs_by_part(found.model, lambda: features.append(found.read(found.model, pixels))).total()
    width = features[0].shape[-1]
    if width != declared:
        raise SettingError(f"{name} gives features {width} wide, the settings say {declared}; change the width")
    of_window = f", {found.window} frames a row" if found.window else ""
    return _frozen(
        name,
        parameters=numbers(found.model.parameters()),
        buffers=_fixed(found.model),
        macs_per_frame=macs,
        note=found.note or f"{found.size} x {found.size} pixels{of_window}",
    )


def _frozen(name: str, parameters: int | None, buffers: int, macs_per_frame: int | None, note: str) -> PartCost:
    return PartCost(
        name=name,
        kind="encoder",
        parameters=parameters,
        trainable={},
        buffers=buffers,
        macs_per_frame=macs_per_frame,
        macs_per_frame_refining=0,
        macs_per_place=0,
        note=note,
    )


def _of_window(encoder: PartCost, rows: int) -> PartCost:
    """What an encoder costs a window of so many rows of its features."""
    row = encoder.macs_per_frame
    return replace(encoder, macs_per_frame=None, macs_per_window=None if row is None else rows * row)


def _part_costs(method: Method, counted: _Counted, clip_frames: int) -> list[PartCost]:
    """The cost of each child and of each parameter of the method's own."""
    trained = {phase: {id(parameter) for parameter in method.trainable(phase)} for phase in method.phases}
    pieces = [(name, list(child.parameters()), _fixed(child)) for name, child in method.named_children()]
    pieces += [(name, [parameter], 0) for name, parameter in method.named_parameters(recurse=False)]
    if any(counts[""] for counts in (counted.frame, counted.refining, counted.place, counted.window or Counter())):
        pieces.append(("", [], 0))
    costs = []
    for name, parameters, fixed in pieces:
        trainable = {
            phase: numbers([parameter for parameter in parameters if id(parameter) in ids])
            for phase, ids in trained.items()
        }
        window = None if counted.window is None else counted.window[name]
        costs.append(
            PartCost(
                name=name or BETWEEN,
                kind="part",
                parameters=numbers(parameters),
                trainable={phase: count for phase, count in trainable.items() if count},
                buffers=fixed,
                macs_per_frame=round(counted.frame[name] / clip_frames) if window is None else None,
                macs_per_frame_refining=round(counted.refining[name] / clip_frames),
                macs_per_place=counted.place[name],
                macs_per_window=window,
                note=TRAINING_ALONE if window == counted.place[name] == 0 else "",
            )
        )
    return costs


def _count_answers(method: Method, widths: dict[str, int], clip_frames: int) -> _Counted:
    """Run the contract. A method that reads whatever features the gallery holds has no width, and nothing is run."""
    counted = _Counted()
    if isinstance(method, Retriever) and not method.encoders and method.frame_shape is None:
        return counted
    refines = _refines(method)  # a switch: not to be read among fake tensors
    embedded: list[Tensor] = []
    with FakeTensorMode(allow_non_fake_inputs=True):
        clips = _clips(method, widths, clip_frames)
        if isinstance(method, Classifier):
            return replace(counted, window=macs_by_part(method, lambda: method.logits(clips)))
        assert isinstance(method, Retriever)
        latlon_T2 = torch.zeros(clip_frames, 2, dtype=torch.float64)
        frame = macs_by_part(method, lambda: embedded.append(method.queries(clips)))
        refining = macs_by_part(method, lambda: method.refined(clips, latlon_T2[None])) if refines else Counter()
        tile_1SSC = torch.zeros(1, TILE_PX, TILE_PX, 3, dtype=torch.uint8) if method.gallery_kind in PICTURED else None
        place = macs_by_part(method, lambda: method.keys(Places(latlon_deg=latlon_T2[:1], tiles_GSSC=tile_1SSC)))
    counted = replace(counted, place=place, embed_dim=embedded[0].shape[-1])
    if method.windows is not None:
        return replace(counted, window=frame)
    return replace(counted, frame=frame, refining=refining)


def _clips(method: Method, widths: dict[str, int], clip_frames: int) -> Clips:
    """One clip: of frames where the method takes them, else of features."""
    shape = method.frame_shape
    return Clips(
        features={name: torch.zeros(1, clip_frames, width) for name, width in widths.items()},
        frames_BTHWC=torch.zeros(1, clip_frames, *shape, 3, dtype=torch.uint8) if shape else None,
        mask_BT=torch.ones(1, clip_frames, dtype=torch.bool),
    )


def _fixed(module: nn.Module) -> int:
    """Numbers in buffers, but for those that count or switch."""
    return numbers([buffer for buffer in module.buffers() if buffer.is_floating_point()])
