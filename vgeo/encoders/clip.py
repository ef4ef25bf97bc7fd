"""CLIP's projected image embedding: Radford et al., ICML 2021, arXiv 2103.00020.

ViT-L/14 gives 768 numbers after the projection (its hidden width is 1024; GeoCLIP and VidTAG take the projected ones),
304 M parameters, 162 GFLOP an image. Variants are hub ids (`clip:openai/clip-vit-base-patch32`, 512 numbers) through
transformers, and open_clip names (`clip:ViT-L-14-quickgelu/openai`) through open_clip.

The default crop is that of the weights' own processor, which GeoCLIP's predict uses: the shorter side to 224, bicubic,
then the middle square. VidTAG (appendix A) resizes frames to 224 x 224: `--set crop=squash` keeps the whole frame.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from vgeo.encoders._hub import find_folder, load_transformers, weights_hash
from vgeo.encoders._images import CLIP, CROPS, Preprocessing, read_choice, read_settings
from vgeo.encoders._vision import VisionEncoder
from vgeo.encoders.base import Encoder, EncoderSpec, Skeleton

if TYPE_CHECKING:
    from vgeo.device import Compute

REPOSITORY = "openai/clip-vit-large-patch14"
SETTINGS = {"crop": "center"}
_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_LARGE |= {"patch_size": 14, "projection_dim": 768}
_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
SHAPES: dict[str, dict[str, Any]] = {  # of the released weights, as their config.json says
    REPOSITORY: _LARGE | {"image_size": 224},
    f"{REPOSITORY}-336": _LARGE | {"image_size": 336},
    "openai/clip-vit-base-patch16": _BASE | {"patch_size": 16, "projection_dim": 512, "image_size": 224},
    "openai/clip-vit-base-patch32": _BASE | {"patch_size": 32, "projection_dim": 512, "image_size": 224},
}
OPEN_CLIP_NAME = re.compile(r"(ViT|ViTamin|RN\d+|EVA\d*|PE|MobileCLIP2?|coca|convnext)([-_x/]|$)", re.ASCII)


def load(variant: str, compute: "Compute", *, weights: str | None, settings: dict[str, str], offline: bool) -> Encoder:
    """Load CLIP's vision half.

    variant: a hub id, an open_clip name, or "" for ViT-L/14. weights: a folder made by save_pretrained; for open_clip
    names a checkpoint file. Raises UsageError, InputError, FormatError or MissingModelError.
    """
    values = read_settings("clip", settings, SETTINGS)
    crop = read_choice("crop", values["crop"], CROPS)
    if OPEN_CLIP_NAME.match(variant):
        from vgeo.encoders._open_clip import load_open_clip

        return load_open_clip(variant, compute, weights=weights, settings=settings, offline=offline)
    name, repository = f"clip:{variant}" if variant else "clip", variant or REPOSITORY
    folder = find_folder(name, repository, weights, offline)
    from transformers import CLIPVisionModelWithProjection

    model: Any = load_transformers(CLIPVisionModelWithProjection, folder, _vision_config)
    preprocessing = Preprocessing(size=model.config.image_size, crop=crop, mean_std=CLIP)
    spec = EncoderSpec(
        name=name,
        dim=model.config.projection_dim,
        weights=weights or repository,
        weights_hash=weights_hash(model),
        preprocessing=f"{preprocessing.describe()}; projected image embedding",
        settings=settings,
    )
    return VisionEncoder(spec, model, _embed, preprocessing, compute)


def skeleton(variant: str) -> Skeleton | None:
    """Build the vision half without weights. Raises UsageError for an unknown open_clip name."""
    if OPEN_CLIP_NAME.match(variant):
        from vgeo.encoders._open_clip import open_clip_skeleton

        return open_clip_skeleton(variant)
    shape = SHAPES.get(variant or REPOSITORY)
    if shape is None:
        return None
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**shape))
    return Skeleton(model=model, read=_embed, size=shape["image_size"])


def _vision_config(folder: Path) -> Any:
    """The vision half of a whole CLIP's configuration, with the width of its projection, which only the whole knows."""
    from transformers import CLIPConfig, CLIPVisionConfig

    if "vision_config" not in CLIPConfig.get_config_dict(folder)[0]:
        return CLIPVisionConfig.from_pretrained(folder)
    config: Any = CLIPConfig.from_pretrained(folder)
    config.vision_config.projection_dim = config.projection_dim
    return config.vision_config


def _embed(model: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    embedding: Tensor = model(pixel_values=pixels_BCHW).image_embeds
    return embedding
