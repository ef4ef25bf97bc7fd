"""The convolutional encoders of GAMa: ResNet-18 on pictures and 3D-ResNet-18 on clips, both without a classifier.

Made of torchvision's blocks, under torchvision's names, at any width: at 64 its released weights fit. GAMa's published
aerial encoder is the ResNet-18 that is usual for CIFAR's pictures of 32 pixels, with a stem that hardly shrinks what
comes in: 26.9 GMACs for a tile of 224 pixels, where torchvision's takes 1.8 (code).

Shapes: B pictures or clips, T frames, H x W pixels, D = 8 widths, h x w (and t) of a feature map.
"""

from contextlib import nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vgeo.layers.joined_norm import JoinedNorm, join_norms

Stem = Literal["published", "torchvision"]

RELEASED_WIDTH = 64
_LEAST_CHANNELS_LAST = 16  # on a CPU, PyTorch 2.15 crashes in gradients of thinner shortcuts, channels coming last


class ResNet18(nn.Module):
    """Pixels [B, 3, H, W] -> a map [B, D, h, w]; of 224 x 224 pixels 28 x 28 with the published stem, else 7 x 7."""

    def __init__(self, width: int = RELEASED_WIDTH, stem: Stem = "published") -> None:
        super().__init__()
        from torchvision.models.resnet import BasicBlock

        def layer(inside: int, outside: int, stride: int) -> nn.Sequential:
            cut = None
            if stride > 1:
                cut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), JoinedNorm(outside))
            first = BasicBlock(inside, outside, stride, cut, norm_layer=JoinedNorm)
            return nn.Sequential(first, BasicBlock(outside, outside, norm_layer=JoinedNorm))

        assert stem in get_args(Stem)
        stride, padding = (1, 1) if stem == "published" else (2, 3)
        self.conv1 = nn.Conv2d(3, width, 7, stride, padding, bias=False)
        self.bn1 = JoinedNorm(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if stem == "published" else nn.MaxPool2d(3, 2, 1)
        self.layer1 = layer(width, width, 1)
        self.layer2 = layer(width, 2 * width, 2)
        self.layer3 = layer(2 * width, 4 * width, 2)
        self.layer4 = layer(4 * width, 8 * width, 2)
        self.width, self.stem = width, stem
        _draw(self)

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] -> [B, D, h, w]."""
        if self.width < _LEAST_CHANNELS_LAST:
            pixels_BCHW = pixels_BCHW.contiguous()
        x = self.maxpool(self.relu(self.bn1(self.conv1(pixels_BCHW))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x


class R3d18(nn.Module):
    """Pixels [B, 3, T, H, W] -> a map [B, D, t, h, w]; of 8 frames of 112 x 224 pixels it is 1 x 7 x 14."""

    def __init__(self, width: int = RELEASED_WIDTH, dropout: float = 0.3) -> None:
        super().__init__()
        from torchvision.models.video.resnet import BasicBlock, Conv3DSimple

        def layer(inside: int, outside: int, stride: int) -> nn.Sequential:
            cut = None
            if stride > 1:
                cut = nn.Sequential(nn.Conv3d(inside, outside, 1, stride, bias=False), nn.BatchNorm3d(outside))
            first = BasicBlock(inside, outside, Conv3DSimple, stride, cut)
            return nn.Sequential(first, BasicBlock(outside, outside, Conv3DSimple))

        self.stem = nn.Sequential(
            nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(width), nn.ReLU(True)
        )
        self.layer1 = layer(width, width, 1)
        self.layer2 = layer(width, 2 * width, 2)
        self.layer3 = layer(2 * width, 4 * width, 2)
        self.layer4 = layer(4 * width, 8 * width, 2)
        self.dropout = nn.Dropout(dropout)
        self.width = width
        join_norms(self)
        _draw(self)

    def forward(self, pixels_BCTHW: Tensor) -> Tensor:
        """Pixels [B, 3, T, H, W] -> [B, D, t, h, w].

        On a CPU always in float32: there PyTorch's (2.15) gradients of 3D convolutions in bfloat16 read memory that
        nothing was written to, on maps of 2 frames, such as the third layer's.
        """
        on_cpu = pixels_BCTHW.device.type == "cpu"
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            x = self.stem(pixels_BCTHW.float() if on_cpu else pixels_BCTHW)
            for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
                for block in layer:
                    x = self.dropout(block(x))  # after every residual block (code)
        return x


def _draw(module: nn.Module) -> None:
    """Draw weights as torchvision does for both."""
    for inner in module.modules():
        if isinstance(inner, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(inner.weight, mode="fan_out", nonlinearity="relu")
