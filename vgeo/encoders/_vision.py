"""A frozen vision model as an encoder: preprocessing, autocast, one vector a frame.

Shapes: B frames, H x W pixels, D feature width.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vgeo.encoders._images import Preprocessing
from vgeo.encoders.base import Encoder, EncoderSpec

if TYPE_CHECKING:
    from vgeo.device import Compute


class VisionEncoder(Encoder):
    """Runs `read(model, pixels)` on preprocessed frames."""

    def __init__(
        self,
        spec: EncoderSpec,
        model: nn.Module,
        read: Callable[[nn.Module, Tensor], Tensor],
        preprocessing: Preprocessing,
        compute: "Compute",
    ) -> None:
        self.spec = spec
        self._model = model.to(compute.device)  # memory formats other than the default gain nothing here
        self._read = read
        self._preprocessing = preprocessing
        self._compute = compute

    @torch.inference_mode()
    def __call__(self, frames_BHWC: Tensor) -> Tensor:
        """Encode RGB frames, uint8: [B, H, W, 3] -> [B, D] float32, on the device."""
        pixels_BCHW = self._preprocessing(frames_BHWC, self._compute.device)
        with self._compute.autocast():
            features_BD = self._read(self._model, pixels_BCHW)
        return features_BD.float()
