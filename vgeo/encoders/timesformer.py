"""TimeSformer's class token, one vector for 8 frames: Bertasius et al., ICML 2021, arXiv 2102.05095.

ViT-B/16 with divided space-time attention, fine-tuned on Kinetics-400, gives 768 numbers, 121 M parameters. Variants
are hub ids, such as `timesformer:facebook/timesformer-hr-finetuned-k400` (16 frames of 448 pixels).

A row of features is a window of as many frames as the weights were trained with; `window` says otherwise, and their
table of times is then stretched to it. `frames`, and squash as the default `crop`, as in videomae: it is a baseline of
CityGuessr (ECCV 2024, table 5). `normalize` kinetics is what the weights were trained with: a mean of 0.45 and a
deviation of 0.225 in all channels (DATA.MEAN and DATA.STD of the authors' code), which are not ImageNet's; none is what
CityGuessr's published loader leaves pixels with.

Shapes: B windows, T frames, D feature width.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from vgeo.encoders._hub import find_folder, load_transformers, weights_hash
from vgeo.encoders._images import AS_IS, CROPS, Preprocessing, read_choice, read_settings
from vgeo.encoders._video import VideoEncoder
from vgeo.encoders._windows import read_windows
from vgeo.encoders.base import Encoder, EncoderSpec, Skeleton
from vgeo.errors import UsageError

if TYPE_CHECKING:
    from vgeo.device import Compute

REPOSITORY = "facebook/timesformer-base-finetuned-k400"
TRAINED = "trained"
SETTINGS = {"frames": "windows", "window": TRAINED, "crop": "squash", "normalize": "kinetics"}
KINETICS = ((0.45,) * 3, (0.225,) * 3)
NORMALIZE = {"kinetics": KINETICS, "none": AS_IS}
SHAPES: dict[str, dict[str, Any]] = {  # of the released weights, as their config.json says
    REPOSITORY: {"num_frames": 8, "image_size": 224},
    "facebook/timesformer-base-finetuned-k600": {"num_frames": 8, "image_size": 224},
    "facebook/timesformer-base-finetuned-ssv2": {"num_frames": 8, "image_size": 224},
    "facebook/timesformer-hr-finetuned-k400": {"num_frames": 16, "image_size": 448},
}


def load(variant: str, compute: "Compute", *, weights: str | None, settings: dict[str, str], offline: bool) -> Encoder:
    """Load TimeSformer.

    variant: a hub id, or "" for the base model of Kinetics-400. weights: a folder made by save_pretrained.
    Raises UsageError, InputError, FormatError or MissingModelError.
    """
    values = read_settings("timesformer", settings, SETTINGS)
    crop = read_choice("crop", values["crop"], CROPS)
    mean_std = NORMALIZE[read_choice("normalize", values["normalize"], tuple(NORMALIZE))]
    name, repository = f"timesformer:{variant}" if variant else "timesformer", variant or REPOSITORY
    folder = find_folder(name, repository, weights, offline, old=True)
    model = load_model(folder)
    windows = read_windows(_length(values["window"], model.config.num_frames), values["frames"])
    # transformers stretches the table of times, but folds tokens into as many frames as the configuration says: left at
    # 8, a window of 16 would be seen as one of 8 frames twice as high.
    model.config.num_frames = windows.length
    preprocessing = Preprocessing(size=model.config.image_size, crop=crop, mean_std=mean_std, resampling="bilinear")
    spec = EncoderSpec(
        name=name,
        dim=model.config.hidden_size,
        weights=weights or repository,
        weights_hash=weights_hash(model),
        preprocessing=f"{preprocessing.describe()}; {windows.describe()}; class token after the last layer norm",
        settings=settings,
    )
    return VideoEncoder(spec, model, class_token, preprocessing, windows, compute)


def load_model(folder: Path) -> Any:
    """Load the model of a folder, without its classifier. Raises FormatError."""
    from transformers import TimesformerModel

    return load_transformers(TimesformerModel, folder)


def skeleton(variant: str) -> Skeleton | None:
    """Build the model without weights, for windows as it was trained with."""
    shape = SHAPES.get(variant or REPOSITORY)
    if shape is None:
        return None
    from transformers import TimesformerConfig, TimesformerModel

    model = TimesformerModel(TimesformerConfig(**shape))
    return Skeleton(model=model, read=class_token, size=shape["image_size"], window=shape["num_frames"])


def _length(value: str, trained: int) -> int:
    if value == TRAINED:
        return trained
    if not value.isdecimal() or not 1 <= int(value) <= 1024:
        raise UsageError(f"--set window={value}: not a number of frames from 1 to 1024, nor {TRAINED}")
    return int(value)


def class_token(model: nn.Module, pixels_BTCHW: Tensor) -> Tensor:
    token: Tensor = model(pixel_values=pixels_BTCHW).last_hidden_state[:, 0]
    return token
