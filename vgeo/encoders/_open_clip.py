"""CLIP models by their open_clip names: `ViT-L-14-quickgelu/openai` is the architecture and the tag of its weights.

Trap: OpenAI's weights were trained with QuickGELU, and open_clip only warns when they are loaded into the plain
`ViT-L-14`. Here the tag decides, and the `-quickgelu` architecture is taken where it asks for it.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from vgeo.encoders._hub import find_file, missing_model, quiet, weights_hash
from vgeo.encoders._images import Preprocessing
from vgeo.encoders._text import PREPROCESSING as TEXT_PREPROCESSING
from vgeo.encoders._text import TextEncoder
from vgeo.encoders._vision import VisionEncoder
from vgeo.encoders.base import Encoder, EncoderSpec, Skeleton
from vgeo.errors import FormatError, InputError, UsageError, first_line

if TYPE_CHECKING:
    from vgeo.device import Compute

log = logging.getLogger(__name__)

FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def load_open_clip(
    variant: str, compute: "Compute", *, weights: str | None, settings: dict[str, str], offline: bool
) -> Encoder:
    """Load the vision half of `ARCHITECTURE/TAG`. Raises UsageError, InputError, FormatError or MissingModelError."""
    architecture, tag = _names(variant)
    name = f"clip:{architecture}/{tag}" if tag else f"clip:{architecture}"
    path = _find_weights(name, architecture, tag, weights, offline)
    vision = _build(architecture, tag, path).visual
    recipe = vision.preprocess_cfg
    size = recipe["size"][0] if isinstance(recipe["size"], tuple | list) else recipe["size"]
    crop = settings.get("crop", "squash" if recipe["resize_mode"] == "squash" else "center")
    mean_std = (tuple(recipe["mean"]), tuple(recipe["std"]))
    preprocessing = Preprocessing(size=size, crop=crop, mean_std=mean_std, resampling=recipe["interpolation"])
    spec = EncoderSpec(
        name=name,
        dim=vision.output_dim,
        weights=weights or variant,
        weights_hash=weights_hash(vision),
        preprocessing=f"{preprocessing.describe()}; projected image embedding",
        settings=settings,
    )
    return VisionEncoder(spec, vision, _embed, preprocessing, compute)


def load_open_clip_text(variant: str, compute: "Compute", *, weights: str | None, offline: bool) -> TextEncoder:
    """Load the text half of `ARCHITECTURE/TAG`. Raises UsageError, InputError, FormatError or MissingModelError."""
    import open_clip

    architecture, tag = _names(variant)
    if "hf_tokenizer_name" in open_clip.get_model_config(architecture)["text_cfg"]:
        raise UsageError(f"clip:{variant}: reads text in tokens of its own; take a CLIP such as ViT-B-32-quickgelu")
    name = f"clip:{architecture}/{tag}" if tag else f"clip:{architecture}"
    model = _build(architecture, tag, _find_weights(name, architecture, tag, weights, offline))
    del model.visual
    model.logit_scale = model.logit_bias = None
    spec = EncoderSpec(
        name=name,
        dim=open_clip.get_model_config(architecture)["embed_dim"],
        weights=weights or variant,
        weights_hash=weights_hash(model),
        preprocessing=TEXT_PREPROCESSING,
        settings={},
    )
    return TextEncoder(spec, model, open_clip.get_tokenizer(architecture), _embed_text, compute)


def open_clip_skeleton(variant: str) -> Skeleton | None:
    """Build the vision half without weights; None where its text half needs a file of the hub. Raises UsageError."""
    import open_clip

    architecture, _ = _names(variant)
    if "hf_model_name" in open_clip.get_model_config(architecture)["text_cfg"]:
        return None
    vision = open_clip.create_model(architecture, pretrained=None, device="meta").visual
    size = vision.image_size
    return Skeleton(model=vision, read=_embed, size=size[0] if isinstance(size, tuple | list) else size)


def _names(variant: str) -> tuple[str, str]:
    """Split and mend the name. Raises UsageError for an unknown one."""
    import open_clip

    architecture, _, tag = variant.partition("/")
    if architecture not in open_clip.list_models():
        raise UsageError(f"clip:{variant}: open_clip knows no {architecture}; see open_clip.list_models()")
    if tag and not open_clip.get_pretrained_cfg(architecture, tag):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture))
        raise UsageError(f"clip:{variant}: no weights of that name; there are {tags}")
    quick = f"{architecture}-quickgelu"
    wants_quick = bool(tag) and open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu", False)
    if (
        wants_quick
        and not open_clip.get_model_config(architecture).get("quick_gelu")
        and quick in open_clip.list_models()
    ):
        log.info("%s was trained with QuickGELU: taking %s", variant, quick)
        architecture = quick
    return architecture, tag


def _find_weights(name: str, architecture: str, tag: str, weights: str | None, offline: bool) -> Path:
    import open_clip

    if weights is not None:
        if not Path(weights).is_file():
            raise InputError(f"--weights {weights}: no such file; {name} needs an open_clip checkpoint")
        return Path(weights)
    if not tag:
        raise UsageError(f"{name}: name its weights too, as in clip:ViT-L-14-quickgelu/openai, or give --weights FILE")
    repository = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "").rstrip("/")
    if not repository:
        code = f"import open_clip; open_clip.create_model('{architecture}', '{tag}', cache_dir='FOLDER')"
        raise missing_model(name, tag, "they are not on the hub", bring=f'python -c "{code}"')
    return find_file(name, repository, FILES, offline)


def _build(architecture: str, tag: str, path: Path) -> Any:
    """Build the model, and load it strictly. Raises FormatError."""
    import open_clip

    recipe = open_clip.get_pretrained_cfg(architecture, tag) if tag else {}
    names = {"mean": "image_mean", "std": "image_std", "interpolation": "image_interpolation"}
    names["resize_mode"] = "image_resize_mode"
    overrides = {argument: recipe[key] for key, argument in names.items() if key in recipe}
    with quiet():
        try:
            model: Any = open_clip.create_model_and_transforms(architecture, pretrained=str(path), **overrides)[0]
        except Exception as error:  # open_clip raises whatever the damage leads to
            raise FormatError(f"{path}: not loadable as {architecture} ({first_line(error)})") from error
    return model.requires_grad_(False).eval()


def _embed(model: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    embedding: Tensor = model(pixels_BCHW)
    return embedding


def _embed_text(model: nn.Module, ids_NL: Tensor) -> Tensor:
    embedding: Tensor = cast(Any, model).encode_text(ids_NL)
    return embedding
