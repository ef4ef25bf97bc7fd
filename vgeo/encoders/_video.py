"""A frozen video model as an encoder: preprocessing, autocast, one vector a window of frames.

Shapes: B windows, T frames of a window, H x W pixels, S the model's size, D feature width.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vgeo.encoders._images import Preprocessing
from vgeo.encoders._windows import Windows
from vgeo.encoders.base import Encoder, EncoderSpec

if TYPE_CHECKING:
    from vgeo.device import Compute


class VideoEncoder(Encoder):
    """Runs `read(model, pixels)` on preprocessed windows, pixels [B, T, 3, S, S]."""

    def __init__(
        self,
        spec: EncoderSpec,
        model: nn.Module,
        read: Callable[[nn.Module, Tensor], Tensor],
        preprocessing: Preprocessing,
        windows: Windows,
        compute: "Compute",
    ) -> None:
        self.spec = spec
        self.windows = windows
        self._model = model.to(compute.device)
        self._read = read
        self._preprocessing = preprocessing
        self._compute = compute

    def shrink(self, frames_BHWC: Tensor) -> Tensor:
        """Resize and crop: a window is kept in a twentieth of the memory of 720p, and its frames may differ in size."""
        return self._preprocessing.square(frames_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> Tensor:
        """Encode windows of RGB frames, uint8, shrunken or as they were: [B, T, H, W, 3] -> [B, D] float32."""
        pixels_NCSS = self._preprocessing(frames.flatten(0, 1), self._compute.device)
        with self._compute.autocast():
            features_BD = self._read(self._model, pixels_NCSS.unflatten(0, frames.shape[:2]))
        return features_BD.float()
