"""Backbones that a method trains: the released weights that training starts from, and the trained one as an encoder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.device import Compute
from vgeo.encoders._hub import WITHOUT_WEIGHTS, find_folder, weights_hash
from vgeo.encoders._images import Preprocessing
from vgeo.encoders._video import VideoEncoder
from vgeo.encoders._windows import Windows
from vgeo.encoders.base import EncoderSpec
from vgeo.encoders.videomae import hash_of
from vgeo.errors import FormatError, MissingModelError, SettingError
from vgeo.methods._backbones import (
    ENCODER,
    MEAN_STD,
    Backbone,
    BackboneShape,
    Family,
    Normalize,
    check_shape,
    shape_of_config,
)

FROM_SCRATCH = "--set init=scratch"
TIMES = "embeddings.time_embeddings"
# What a configuration can say beyond the shape that changes what the model gives; a Backbone has the usual values.
DECISIVE = ("hidden_act", "layer_norm_eps", "num_channels", "qkv_bias", "qv_bias", "use_mean_pooling", "attention_type")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedBackbone:
    """Pretrained weights that fit `Backbone(family, shape)`."""

    family: Family
    shape: BackboneShape
    tensors: dict[str, Tensor]  # the whole state of the Backbone
    weights: str  # hub id or folder they came from
    weights_hash: str  # as of the frozen encoder of that name


def released_backbone(
    family: Family,
    repository: str = "",
    weights: str | None = None,
    *,
    frames: int | None = None,
    offline: bool = False,
) -> ReleasedBackbone:
    """Load pretrained weights: of the hub, of its cache, or of a folder made by save_pretrained, classifiers included.

    repository: hub id, "" for the family's usual one. frames: of a window; None: as many as the weights were trained
    with. TimeSformer's table of times is stretched to others, VideoMAE takes no others.
    Raises SettingError for frames that do not fit, InputError, FormatError or MissingModelError.
    """
    encoder = ENCODER[family]
    repository = repository or encoder.REPOSITORY
    folder = _folder(family, repository, weights, offline)
    model = encoder.load_model(folder)
    trained = shape_of_config(model.config)
    shape = trained if frames is None else _with_frames(family, trained, frames, weights or repository)
    tensors = {name: value for name, value in model.state_dict().items() if not _useless(family, name)}
    if shape.frames != trained.frames:
        tensors[TIMES] = _stretched(tensors[TIMES], shape.frames)
    tensors = {f"model.{name}": value for name, value in tensors.items()}
    _check_fit(family, shape, model.config, tensors, folder)
    return ReleasedBackbone(
        family=family,
        shape=shape,
        tensors=tensors,
        weights=weights or repository,
        weights_hash=hash_of(model) if family == "videomae" else weights_hash(model),
    )


def own_encoder(
    backbone: Backbone, windows: Windows, compute: Compute, *, name: str, normalize: Normalize = "none"
) -> VideoEncoder:
    """Wrap a trained backbone as an encoder: a row of features is what it gives for a window.

    Frames are squashed to its square, as CityGuessr's published loader does. The backbone is moved to the device and
    put into evaluation mode; it is not copied.
    """
    shape = backbone.shape
    if windows.length != shape.frames:
        raise ValueError(f"windows of {windows.length} frames for a backbone of {shape.frames}")
    preprocessing = Preprocessing(
        size=shape.image_px, crop="squash", mean_std=MEAN_STD[normalize], resampling="bilinear"
    )
    spec = EncoderSpec(
        name=name,
        dim=shape.width,
        weights="",
        weights_hash=weights_hash(backbone),
        preprocessing=f"{preprocessing.describe()}; {windows.describe()}; {backbone.family}, trained further",
        settings={},
    )
    return VideoEncoder(spec, backbone.eval(), _read, preprocessing, windows, compute)


def _read(backbone: Any, pixels_BTCHW: Tensor) -> Tensor:
    features_BD: Tensor = backbone(pixels_BTCHW)
    return features_BD


def _folder(family: Family, repository: str, weights: str | None, offline: bool) -> Path:
    try:
        return find_folder(family, repository, weights, offline, old=True)
    except MissingModelError as error:  # with the advice that fits training
        said = str(error).replace(WITHOUT_WEIGHTS, f"\n  or without a download: {FROM_SCRATCH}")
        raise MissingModelError(said.replace(f"--weights {family}=PATH", "--weights PATH")) from error


def _with_frames(family: Family, trained: BackboneShape, frames: int, weights: str) -> BackboneShape:
    """The shape for windows of other lengths than the weights were trained with. Raises SettingError."""
    if family == "videomae" and frames != trained.frames:
        raise SettingError(
            f"frames={frames}: {weights} takes windows of {trained.frames} frames and no others; "
            f"--set frames={trained.frames}, or train from scratch with {FROM_SCRATCH}"
        )
    shape = replace(trained, frames=frames)
    try:
        check_shape(family, shape)
    except ValueError as error:
        raise SettingError(f"frames={frames}: {error}") from error
    return shape


def _stretched(times_1TD: Tensor, frames: int) -> Tensor:
    """TimeSformer's table of times for windows of other lengths, the nearest entries, as transformers does."""
    return F.interpolate(times_1TD.transpose(1, 2), size=frames, mode="nearest").transpose(1, 2).contiguous()


def _useless(family: Family, name: str) -> bool:
    return family == "videomae" and name.endswith(ENCODER[family].KEY_BIAS)


def _check_fit(family: Family, shape: BackboneShape, config: Any, tensors: dict[str, Tensor], folder: Path) -> None:
    """Raise FormatError where a Backbone of this shape is another model than the one that the weights belong to."""
    try:
        with torch.device("meta"):
            bare = Backbone(family, shape)
    except ValueError as error:
        raise FormatError(f"{folder}: its config.json is not of a {family} ({error})") from error
    usual = bare.model.config
    for key in DECISIVE:
        if hasattr(usual, key) and getattr(config, key) != getattr(usual, key):
            raise FormatError(
                f"{folder}: config.json says {key}={getattr(config, key)}, which is built only with "
                f"{getattr(usual, key)}; use it frozen, with precompute-features --encoder {family}"
            )
    wanted = {name: tuple(value.shape) for name, value in bare.state_dict().items()}
    if wanted != {name: tuple(value.shape) for name, value in tensors.items()}:
        raise FormatError(f"{folder}: its tensors are not those of a {family} of the shape that config.json gives")
