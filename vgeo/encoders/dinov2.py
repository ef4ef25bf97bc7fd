"""DINOv2's class token after the last layer norm: Oquab et al., TMLR 2024, arXiv 2304.07193.

ViT-L/14 gives 1024 numbers, 304 M parameters. It was trained at 518 pixels; at 224, as VidTAG (appendix A) uses it, its
position table is interpolated. Variants are hub ids, such as `dinov2:facebook/dinov2-base`.

The default is the weights' own processor: the shorter side to 256, bicubic, then the middle 224 x 224; `--set size=N`
keeps that ratio. VidTAG resizes frames to 224 x 224: `--set crop=squash` keeps the whole frame.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from vgeo.encoders._hub import find_folder, load_transformers, weights_hash
from vgeo.encoders._images import CROPS, IMAGENET, Preprocessing, read_choice, read_settings, read_size
from vgeo.encoders._vision import VisionEncoder
from vgeo.encoders.base import Encoder, EncoderSpec, Skeleton

if TYPE_CHECKING:
    from vgeo.device import Compute

REPOSITORY = "facebook/dinov2-large"
SETTINGS = {"crop": "center", "size": "224"}
SHAPES: dict[str, dict[str, Any]] = {  # of the released weights, as their config.json says
    "facebook/dinov2-small": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "facebook/dinov2-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    REPOSITORY: {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "facebook/dinov2-giant": {
        "hidden_size": 1536,
        "num_hidden_layers": 40,
        "num_attention_heads": 24,
        "use_swiglu_ffn": True,
    },
}


def load(variant: str, compute: "Compute", *, weights: str | None, settings: dict[str, str], offline: bool) -> Encoder:
    """Load DINOv2.

    variant: a hub id, or "" for ViT-L/14. weights: a folder made by save_pretrained.
    Raises UsageError, InputError, FormatError or MissingModelError.
    """
    values = read_settings("dinov2", settings, SETTINGS)
    crop = read_choice("crop", values["crop"], CROPS)
    name, repository = f"dinov2:{variant}" if variant else "dinov2", variant or REPOSITORY
    folder = find_folder(name, repository, weights, offline)
    from transformers import Dinov2Model

    model: Any = load_transformers(Dinov2Model, folder)
    size = read_size("size", values["size"], multiple=model.config.patch_size)
    preprocessing = Preprocessing(size=size, shorter=round(size * 256 / 224), crop=crop, mean_std=IMAGENET)
    spec = EncoderSpec(
        name=name,
        dim=model.config.hidden_size,
        weights=weights or repository,
        weights_hash=weights_hash(model),
        preprocessing=f"{preprocessing.describe()}; class token after the last layer norm",
        settings=settings,
    )
    return VisionEncoder(spec, model, _class_token, preprocessing, compute)


def skeleton(variant: str) -> Skeleton | None:
    """Build the model without weights, for frames of the default size."""
    shape = SHAPES.get(variant or REPOSITORY)
    if shape is None:
        return None
    from transformers import Dinov2Config, Dinov2Model

    model = Dinov2Model(Dinov2Config(patch_size=14, image_size=518, **shape))
    return Skeleton(model=model, read=_class_token, size=int(SETTINGS["size"]))


def _class_token(model: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    token: Tensor = model(pixel_values=pixels_BCHW).pooler_output
    return token
