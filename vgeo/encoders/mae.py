"""The image MAE's class token, or the mean of its patches, a frame: He et al., CVPR 2022, arXiv 2111.06377.

ViT-B/16, pre-trained on ImageNet without labels, gives 768 numbers, 86 M parameters: the single-image baseline of
CityGuessr (ECCV 2024, table 2), which takes the first, middle, last or a random frame of a clip. Variants are hub ids,
such as `mae:facebook/vit-mae-large`.

Nothing is masked here: left to itself, transformers' model hides three quarters of the patches at random, in evaluation
too. `crop` squash is the weights' own processor's and CityGuessr's loader's; `pool` class, or patches, the mean with
which MAE works similarly well (its appendix A.1); `normalize` imagenet is what the weights were trained with, none what
CityGuessr's published loader leaves them with.

Shapes: B frames, N patches, D feature width.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vgeo.encoders._hub import find_folder, load_transformers, weights_hash
from vgeo.encoders._images import AS_IS, CROPS, IMAGENET, Preprocessing, read_choice, read_settings
from vgeo.encoders._vision import VisionEncoder
from vgeo.encoders.base import Encoder, EncoderSpec, Skeleton

if TYPE_CHECKING:
    from vgeo.device import Compute

REPOSITORY = "facebook/vit-mae-base"
SETTINGS = {"crop": "squash", "pool": "class", "normalize": "imagenet"}
NORMALIZE = {"imagenet": IMAGENET, "none": AS_IS}
_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
SHAPES: dict[str, dict[str, Any]] = {  # of the released weights, as their config.json says
    REPOSITORY: {},
    "facebook/vit-mae-large": _LARGE,
}


def load(variant: str, compute: "Compute", *, weights: str | None, settings: dict[str, str], offline: bool) -> Encoder:
    """Load MAE's encoder.

    variant: a hub id, or "" for ViT-B/16. weights: a folder made by save_pretrained.
    Raises UsageError, InputError, FormatError or MissingModelError.
    """
    values = read_settings("mae", settings, SETTINGS)
    crop = read_choice("crop", values["crop"], CROPS)
    mean_std = NORMALIZE[read_choice("normalize", values["normalize"], tuple(NORMALIZE))]
    pool = read_choice("pool", values["pool"], ("class", "patches"))
    name, repository = f"mae:{variant}" if variant else "mae", variant or REPOSITORY
    folder = find_folder(name, repository, weights, offline, old=True)
    model = load_model(folder)
    preprocessing = Preprocessing(size=model.config.image_size, crop=crop, mean_std=mean_std, resampling="bilinear")
    said = "class token" if pool == "class" else "mean of the patches"
    spec = EncoderSpec(
        name=name,
        dim=model.config.hidden_size,
        weights=weights or repository,
        weights_hash=weights_hash(model),
        preprocessing=f"{preprocessing.describe()}; {said} after the last layer norm",
        settings=settings,
    )
    return VisionEncoder(spec, model, class_token if pool == "class" else mean_patch, preprocessing, compute)


def load_model(folder: Path) -> Any:
    """Load the encoder of a folder, without masking and without its decoder. Raises FormatError."""
    from transformers import ViTMAEModel

    return load_transformers(ViTMAEModel, folder, _whole)


def skeleton(variant: str) -> Skeleton | None:
    """Build the encoder without weights."""
    shape = SHAPES.get(variant or REPOSITORY)
    if shape is None:
        return None
    from transformers import ViTMAEConfig, ViTMAEModel

    return Skeleton(model=ViTMAEModel(ViTMAEConfig(mask_ratio=0.0, **shape)), read=class_token, size=224)


def _whole(folder: Path) -> Any:
    """The folder's configuration, without masking."""
    from transformers import ViTMAEConfig

    config: Any = ViTMAEConfig.from_pretrained(folder)
    config.mask_ratio = 0.0
    return config


def _tokens(model: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    """Class token and patches in their order: [B, 1 + N, D].

    The model shuffles them by noise before it masks; without noise of ours the sums would differ from run to run.
    """
    patches: int = model.embeddings.patch_embeddings.num_patches  # type: ignore[union-attr, assignment]
    noise_BN = torch.arange(patches, device=pixels_BCHW.device).expand(len(pixels_BCHW), -1)
    tokens: Tensor = model(pixel_values=pixels_BCHW, noise=noise_BN).last_hidden_state
    return tokens


def class_token(model: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    return _tokens(model, pixels_BCHW)[:, 0]


def mean_patch(model: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    return _tokens(model, pixels_BCHW)[:, 1:].mean(dim=1)
