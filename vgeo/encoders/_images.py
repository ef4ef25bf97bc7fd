"""From decoded frames to what a backbone wants: one resize on uint8, then the family's normalisation.

Shapes: B frames, C channels, H x W pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vgeo.errors import UsageError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
AS_IS = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # pixel values in [0, 1]
CROPS = ("center", "squash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Resize, crop and normalise; `describe` is stored with the features.

    crop: "center" resizes the shorter side to `shorter` and takes the middle square; "squash" resizes the whole frame;
    "squash center" resizes it to a square of side `shorter` and takes the middle of that.
    mean_std: of pixel values in [0, 1] (of 0..255 where `caffe`).
    """

    size: int
    crop: str
    mean_std: tuple[tuple[float, ...], tuple[float, ...]]
    resampling: str = "bicubic"
    shorter: int | None = None  # the crop's size where None
    caffe: bool = False  # BGR, 0..255

    def __call__(self, frames_BHWC: Tensor, device: torch.device) -> Tensor:
        """RGB frames, uint8 [B, H, W, 3] -> float32 [B, 3, size, size] on the device."""
        frames_BCHW = self.square(frames_BHWC.cpu().permute(0, 3, 1, 2)).to(device)
        return normalised(frames_BCHW.flip(1) if self.caffe else frames_BCHW, self.mean_std, 1 if self.caffe else 255)

    def describe(self) -> str:
        """One readable line."""
        shorter = self.shorter or self.size
        areas = {"squash": "squash", "squash center": f"of a squash to {shorter}x{shorter}"}
        area = areas.get(self.crop, f"shorter side {shorter}, center crop")
        mean, std = (" ".join(f"{value:g}" for value in values) for values in self.mean_std)
        order = "BGR 0..255, " if self.caffe else ""
        return f"{self.size}x{self.size} {area}, {self.resampling} antialias, {order}mean {mean} std {std}"

    def square(self, frames_BCHW: Tensor) -> Tensor:
        """Resize and crop uint8 frames to [B, 3, size, size]; those that are of that size already stay as they are."""
        if self.crop == "squash":
            return resize(frames_BCHW, (self.size, self.size), self.resampling)
        height, width = frames_BCHW.shape[-2:]
        shorter = self.shorter or self.size
        # The longer side is cut to a whole pixel, as torchvision and transformers do.
        if self.crop == "squash center":
            target = (shorter, shorter)
        elif height <= width:
            target = (shorter, int(shorter * width / height))
        else:
            target = (int(shorter * height / width), shorter)
        resized = resize(frames_BCHW, target, self.resampling)
        top, left = (target[0] - self.size) // 2, (target[1] - self.size) // 2
        return resized[..., top : top + self.size, left : left + self.size]


def resize(frames_BCHW: Tensor, size_hw: tuple[int, int], resampling: str) -> Tensor:
    """Resize uint8 frames with antialiasing: nine times as fast as Pillow, and equal to it within a grey level."""
    if tuple(frames_BCHW.shape[-2:]) == size_hw:
        return frames_BCHW
    return functional.interpolate(frames_BCHW, size=size_hw, mode=resampling, antialias=True, align_corners=False)


def normalised(frames_XCHW: Tensor, mean_std: tuple[tuple[float, ...], tuple[float, ...]], white: int = 255) -> Tensor:
    """Bring uint8 frames [..., 3, H, W] to float32 with `white` at 1, less the mean, over the deviation."""
    pixels_XCHW = frames_XCHW / white  # a tensor of its own, in one pass
    if mean_std == AS_IS:
        return pixels_XCHW
    mean, std = (  # filled on the device: to copy them there would wait for it
        torch.cat([torch.full((1, 1, 1), value, device=frames_XCHW.device) for value in values]) for values in mean_std
    )
    return pixels_XCHW.sub_(mean).div_(std)


def read_settings(name: str, settings: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Return settings over their defaults. Raises UsageError that lists the known ones."""
    unknown = sorted(set(settings) - set(defaults))
    if unknown:
        known = ", ".join(f"{key}={value}" for key, value in defaults.items()) or "none"
        raise UsageError(f"{name} has no setting {unknown[0]!r}; it has {known}")
    return {**defaults, **settings}


def read_choice(key: str, value: str, choices: tuple[str, ...]) -> str:
    """Return a setting that is one of `choices`. Raises UsageError."""
    if value not in choices:
        raise UsageError(f"--set {key}={value}: not one of {', '.join(choices)}")
    return value


def read_size(key: str, value: str, multiple: int = 1) -> int:
    """Return a setting that is a size in pixels. Raises UsageError."""
    if not value.isdecimal() or not 16 <= int(value) <= 4096 or int(value) % multiple:
        of = f", a multiple of {multiple}" if multiple > 1 else ""
        raise UsageError(f"--set {key}={value}: not a size in pixels from 16 to 4096{of}")
    return int(value)
