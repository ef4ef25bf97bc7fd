"""What every encoder is: frames in, one vector a frame out.

Shapes: B frames, H x W pixels, D feature width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the spec is read where torch is not wanted
    from torch import Tensor, nn


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
    read: "Callable[[nn.Module, Tensor], Tensor]"  # pixels [B, 3, size, size] -> features [B, D], as the encoder does
    size: int
    note: str = ""  # what the count leaves out


class Encoder(ABC):
    """A frozen backbone on its device, in evaluation mode."""

    spec: EncoderSpec

    @abstractmethod
    def __call__(self, frames_BHWC: "Tensor") -> "Tensor":
        """Encode RGB frames, uint8, of any size (all of one size): [B, H, W, 3] -> [B, D] float32, on the device."""
