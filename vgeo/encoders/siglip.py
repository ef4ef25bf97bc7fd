"""SigLIP's pooled image embedding: Zhai et al., ICCV 2023, arXiv 2303.15343.

ViT-L/16 at 256 pixels gives 1024 numbers, so that with CLIP's 768 a frame has the 1792 of VidTAG's CLIP + DINOv2
(table 6 there puts SigLIP in DINOv2's place). Variants are hub ids, such as `siglip:google/siglip-base-patch16-224`.

The weights' own processor squashes the whole frame to 256 x 256, bicubic; `--set crop=center` takes the middle square.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from vgeo.encoders._hub import find_folder, load_transformers, weights_hash
from vgeo.encoders._images import CROPS, HALF, Preprocessing, read_choice, read_settings
from vgeo.encoders._vision import VisionEncoder
from vgeo.encoders.base import Encoder, EncoderSpec, Skeleton

if TYPE_CHECKING:
    from vgeo.device import Compute

REPOSITORY = "google/siglip-large-patch16-256"
SETTINGS = {"crop": "squash"}
_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
SHAPES: dict[str, dict[str, Any]] = {  # of the released weights, as their config.json says
    REPOSITORY: _LARGE | {"patch_size": 16, "image_size": 256},
    "google/siglip-base-patch16-224": _BASE | {"patch_size": 16, "image_size": 224},
}


def load(variant: str, compute: "Compute", *, weights: str | None, settings: dict[str, str], offline: bool) -> Encoder:
    """Load SigLIP's vision half.

    variant: a hub id, or "" for ViT-L/16 at 256 pixels. weights: a folder made by save_pretrained.
    Raises UsageError, InputError, FormatError or MissingModelError.
    """
    values = read_settings("siglip", settings, SETTINGS)
    crop = read_choice("crop", values["crop"], CROPS)
    name, repository = f"siglip:{variant}" if variant else "siglip", variant or REPOSITORY
    folder = find_folder(name, repository, weights, offline)
    from transformers import SiglipVisionModel

    model: Any = load_transformers(SiglipVisionModel, folder)
    preprocessing = Preprocessing(size=model.config.image_size, crop=crop, mean_std=HALF)
    spec = EncoderSpec(
        name=name,
        dim=model.config.hidden_size,
        weights=weights or repository,
        weights_hash=weights_hash(model),
        preprocessing=f"{preprocessing.describe()}; pooled by the attention head",
        settings=settings,
    )
    return VisionEncoder(spec, model, _pooled, preprocessing, compute)


def skeleton(variant: str) -> Skeleton | None:
    """Build the vision half without weights."""
    shape = SHAPES.get(variant or REPOSITORY)
    if shape is None:
        return None
    from transformers import SiglipVisionConfig, SiglipVisionModel

    return Skeleton(model=SiglipVisionModel(SiglipVisionConfig(**shape)), read=_pooled, size=shape["image_size"])


def _pooled(model: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    embedding: Tensor = model(pixel_values=pixels_BCHW).pooler_output
    return embedding
