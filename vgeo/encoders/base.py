"""What every encoder is: frames in, one vector a frame out, or one a window of frames.

Shapes: B frames, or B windows of T frames, H x W pixels, D feature width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the spec is read where torch is not wanted
    from torch import Tensor, nn

    from vgeo.encoders._windows import Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """What makes two feature files comparable; stored with the features."""

    name: str  # family, or family:variant, as typed
    dim: int
    weights: str  # hub id or local path the weights came from; "none" for gist
    weights_hash: str  # sha256 (16 hex digits) over the tensors; "none" for gist
    preprocessing: str  # size, resampling, normalisation and pooling in one readable line
    settings: dict[str, str]  # as given by --set

    def same_features(self, other: "EncoderSpec") -> bool:
        """True when features of both may be compared: everything but where the weights lie agrees."""
        return (self.name, self.dim, self.weights_hash, self.preprocessing) == (
            other.name,
            other.dim,
            other.weights_hash,
            other.preprocessing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """A backbone without numbers, on the meta device: what `vgeo methods NAME --costs` counts."""

    model: "nn.Module"
    read: "Callable[[nn.Module, Tensor], Tensor]"  # pixels [B, *shape] -> features [B, D], as the encoder does
    size: int
    window: int | None = None  # frames of a row of features; None: one, without a dimension of its own
    note: str = ""  # what the count leaves out

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the pixels of one row of features: [3, size, size], or [window, 3, size, size]."""
        return (*([self.window] if self.window else []), 3, self.size, self.size)


class Encoder(ABC):
    """A frozen backbone on its device, in evaluation mode."""

    spec: EncoderSpec
    windows: "Windows | None" = None  # which frames one row of features describes; None: one frame each

    @abstractmethod
    def __call__(self, frames: "Tensor") -> "Tensor":
        """Encode RGB frames, uint8, of any size (all of one size), to [B, D] float32, on the device.

        [B, H, W, 3], or with `windows` [B, T, H, W, 3].
        """

    def shrink(self, frames_BHWC: "Tensor") -> "Tensor":
        """What has to be kept of frames [B, H, W, 3] until their window is full."""
        return frames_BHWC
