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
from vgeo.encoders.base import Encoder, EncoderSpec

if TYPE_CHECKING:
    from vgeo.device import Compute

REPOSITORY = "google/siglip-large-patch16-256"
SETTINGS = {"crop": "squash"}


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


def _pooled(model: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    embedding: Tensor = model(pixel_values=pixels_BCHW).pooler_output
    return embedding
