"""Backbones that a method trains end to end: VideoMAE, TimeSformer, and the image MAE on single frames.

The models are transformers'; what is read from them is what the frozen encoders of the same names read. A shape is a
handful of whole numbers, so that a trained model is built again from its settings, without hub and folder.

Shapes: B clips, T frames of a window, S pixels of a square frame's side, D width.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vgeo.encoders import mae, timesformer, videomae
from vgeo.encoders._images import AS_IS, IMAGENET, normalised
from vgeo.layers.ranks import own_rows, world_size

Family = Literal["videomae", "timesformer", "mae"]
Normalize = Literal["none", "imagenet", "kinetics"]
Pool = Literal["class", "patches"]

TUBELET = 2
ENCODER: dict[Family, Any] = {"videomae": videomae, "timesformer": timesformer, "mae": mae}  # frozen, of that name
MEAN_STD = {"none": AS_IS, "imagenet": IMAGENET, "kinetics": timesformer.KINETICS}


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneShape:
    """What a backbone is made of; the defaults are VideoMAE ViT-S/16's, CityGuessr's (ECCV 2024, sec. 5.2)."""

    frames: int = 16  # of a window; of TimeSformer's released weights 8, of an image model 1
    image_px: int = 224
    patch_px: int = 16
    tubelet: int = TUBELET  # frames that VideoMAE makes one token of
    width: int = 384
    layers: int = 12
    heads: int = 6
    mlp: int = 1536


class Backbone(nn.Module):
    """A video or image transformer, all of it trainable: pixels [B, T, 3, S, S] -> [B, D].

    pool: what is read of the image MAE. checkpointing: compute each layer again in the backward pass, which takes a
    fraction of the memory and a third more time. Raises ValueError for a shape that cannot be.
    """

    def __init__(
        self, family: Family, shape: BackboneShape, *, pool: Pool = "class", checkpointing: bool = False
    ) -> None:
        super().__init__()
        check_shape(family, shape)
        self.family, self.shape = family, shape
        self._read = mae.mean_patch if (family, pool) == ("mae", "patches") else _READ[family]
        self.model = _build(family, shape)
        if checkpointing:
            later = getattr(self.model, "activation_checkpointing_enable", None)  # its name since transformers 5.23
            (later or self.model.gradient_checkpointing_enable)({"use_reentrant": False})

    def forward(self, pixels_BTCHW: Tensor) -> Tensor:
        """Embed windows: [B, T, 3, S, S] -> [B, D]."""
        return self._read(self.model, pixels_BTCHW[:, 0] if self.family == "mae" else pixels_BTCHW)


_READ = {"videomae": videomae.mean_token, "timesformer": timesformer.class_token, "mae": mae.class_token}


def check_shape(family: Family, shape: BackboneShape) -> None:
    """Raise ValueError for a shape that the family cannot have; the fields are named as in BackboneShape."""
    if family not in get_args(Family):
        raise ValueError(f"{family}: no backbone of that name; there are {', '.join(get_args(Family))}")
    least = min(shape.frames, shape.image_px, shape.patch_px, shape.tubelet, shape.width, shape.layers, shape.heads)
    if min(least, shape.mlp) < 1:
        raise ValueError("all numbers of a backbone must be at least 1")
    if shape.image_px % shape.patch_px:
        raise ValueError(f"patches of {shape.patch_px} pixels do not fill {shape.image_px} pixels")
    if shape.width % shape.heads:
        raise ValueError(f"heads must divide the width {shape.width} of the backbone, which {shape.heads} does not")
    if family == "mae" and shape.frames != 1:
        raise ValueError(f"mae sees single frames, so frames must be 1, not {shape.frames}")
    if family == "mae" and shape.width % 4:
        raise ValueError(f"mae's table of positions needs a width that 4 divides, which it does not {shape.width}")
    if family == "videomae" and shape.frames % shape.tubelet:
        raise ValueError(
            f"videomae makes a token of {shape.tubelet} frames, so frames must be a multiple of that, "
            f"not {shape.frames}"
        )


def shape_of_config(config: Any) -> BackboneShape:
    """Read a shape off transformers' configuration of a model."""
    return BackboneShape(
        frames=getattr(config, "num_frames", 1),
        image_px=config.image_size,
        patch_px=config.patch_size,
        tubelet=getattr(config, "tubelet_size", TUBELET),
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        mlp=config.intermediate_size,
    )


def _build(family: Family, shape: BackboneShape) -> Any:
    """Build transformers' model with random weights."""
    import transformers as hf

    sizes: dict[str, Any] = {
        "image_size": shape.image_px,
        "patch_size": shape.patch_px,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.mlp,
    }
    if family == "timesformer":
        return hf.TimesformerModel(hf.TimesformerConfig(**sizes, num_frames=shape.frames))
    if family == "mae":
        return hf.ViTMAEModel(hf.ViTMAEConfig(**sizes, mask_ratio=0.0))
    config = hf.VideoMAEConfig(**sizes, num_frames=shape.frames, tubelet_size=shape.tubelet)
    model = videomae.without_key_biases(hf.VideoMAEModel(config))
    # transformers keeps the table of positions off the device and copies it there in each step, which waits for it.
    table = model.embeddings.position_embeddings
    del model.embeddings.position_embeddings
    model.embeddings.register_buffer("position_embeddings", table, persistent=False)
    return model


def preprocess(frames_BTHWC: Tensor, normalize: Normalize = "none") -> Tensor:
    """Turn RGB frames, uint8 [B, T, S, S, 3], into pixels [B, T, 3, S, S] float32 on their device.

    none: values in [0, 1], as CityGuessr's published loader leaves them; imagenet: what VideoMAE and MAE were trained
    with; kinetics: what TimeSformer was.
    """
    return normalised(frames_BTHWC.permute(0, 1, 4, 2, 3), MEAN_STD[normalize])


def augment(pixels_BTCSS: Tensor, generator: torch.Generator, *, flip: float = 0.0, crop: float = 1.0) -> Tensor:
    """Mirror and crop pixels [B, T, 3, S, S], all frames of a clip alike. CityGuessr's published code does not.

    flip: probability of left becoming right. crop: a square is cut out at random and brought back to S; its side is at
    least this part of S, evenly drawn. Drawn as one for the joined batch of all processes.
    """
    if not flip and crop == 1:
        return pixels_BTCSS
    drawn = torch.rand(world_size() * len(pixels_BTCSS), 4, generator=generator, device=generator.device)
    flip_B, part_B, x_B, y_B = own_rows(drawn).to(pixels_BTCSS.device).unbind(1)
    if crop < 1:
        pixels_BTCSS = _cropped(pixels_BTCSS, crop + (1 - crop) * part_B, 2 * torch.stack([x_B, y_B], 1) - 1)
    if flip:
        mirrored = (flip_B < flip)[:, None, None, None, None]
        pixels_BTCSS = torch.where(mirrored, pixels_BTCSS.flip(-1), pixels_BTCSS)
    return pixels_BTCSS


def _cropped(pixels_BTCSS: Tensor, side_B: Tensor, place_B2: Tensor) -> Tensor:
    """Cut squares out, sides as parts of S, at a place (x, y) from -1, at the edge, to 1, and bring them to S."""
    channels_BXSS = pixels_BTCSS.flatten(1, 2)  # one grid for all frames of a clip
    scale_B22, shift_B2 = torch.diag_embed(side_B[:, None].expand(-1, 2)), (1 - side_B)[:, None] * place_B2
    affine_B23 = torch.cat([scale_B22, shift_B2[..., None]], -1)
    size = [len(side_B), 1, *channels_BXSS.shape[-2:]]
    grid_BSS2 = F.affine_grid(affine_B23, size, align_corners=False)
    cut_BXSS = F.grid_sample(channels_BXSS, grid_BSS2, padding_mode="border", align_corners=False)
    return cut_BXSS.unflatten(1, pixels_BTCSS.shape[1:3])
