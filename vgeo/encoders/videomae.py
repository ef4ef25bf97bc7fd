"""VideoMAE's mean token, one vector for 16 frames: Tong et al., NeurIPS 2022, arXiv 2203.12602.

ViT-S/16 fine-tuned on Kinetics-400 gives 384 numbers, 21.9 M parameters: CityGuessr's backbone (ECCV 2024, sec. 5.2).
The vector is the plain mean over the tokens after the last layer, which CityGuessr's code takes; the layer norm and the
classifier of the fine-tuned weights come after it and are left out. Variants are hub ids, such as
`videomae:MCG-NJU/videomae-base-finetuned-kinetics`.

A row of features is a window. `frames` says of which frames: windows (one after the other), first76 (the published
loader's choice of 100 frames) or uniform. At the usual 1 Hz a window spans 16 s; the published one spans 22 s, every
fifth of 100 frames from 800 to 900 (sec. 3). `crop` squash is the published loader's, center the weights' own
processor's. `normalize` imagenet is what the weights were trained with, and so what they need where they stay frozen;
none is what CityGuessr's published loader leaves them with, which trains them further.

Shapes: B windows, T frames, N tokens, D feature width.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from vgeo.encoders._hub import find_folder, load_transformers, weights_hash
from vgeo.encoders._images import AS_IS, CROPS, IMAGENET, Preprocessing, read_choice, read_settings
from vgeo.encoders._video import VideoEncoder
from vgeo.encoders._windows import read_windows
from vgeo.encoders.base import Encoder, EncoderSpec, Skeleton

if TYPE_CHECKING:
    from vgeo.device import Compute

REPOSITORY = "MCG-NJU/videomae-small-finetuned-kinetics"
SETTINGS = {"frames": "windows", "crop": "squash", "normalize": "imagenet"}
NORMALIZE = {"imagenet": IMAGENET, "none": AS_IS}
_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
SHAPES: dict[str, dict[str, Any]] = {  # of the released weights, as their config.json says
    REPOSITORY: {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6},
    "MCG-NJU/videomae-base-finetuned-kinetics": {},
    "MCG-NJU/videomae-large-finetuned-kinetics": _LARGE,
}
# The released weights hold the biases of queries and values apart, and none of keys. transformers 5 renamed them, but
# finds them under their old names since 5.23 only; before, it has a bias of keys, too, which changes nothing: it adds
# the same number to all products of a query, and softmax takes it out again.
RENAMED = {rf"attention\.attention\.{short}_bias": f"attention.attention.{long}.bias"
           for short, long in (("q", "query"), ("v", "value"))}  # fmt: skip
KEY_BIAS = "attention.key.bias"


def load(variant: str, compute: "Compute", *, weights: str | None, settings: dict[str, str], offline: bool) -> Encoder:
    """Load VideoMAE.

    variant: a hub id, or "" for ViT-S/16. weights: a folder made by save_pretrained; its configuration says how many
    frames a window has. Raises UsageError, InputError, FormatError or MissingModelError.
    """
    values = read_settings("videomae", settings, SETTINGS)
    crop = read_choice("crop", values["crop"], CROPS)
    mean_std = NORMALIZE[read_choice("normalize", values["normalize"], tuple(NORMALIZE))]
    name, repository = f"videomae:{variant}" if variant else "videomae", variant or REPOSITORY
    folder = find_folder(name, repository, weights, offline, old=True)
    model = load_model(folder)
    windows = read_windows(model.config.num_frames, values["frames"])
    preprocessing = Preprocessing(size=model.config.image_size, crop=crop, mean_std=mean_std, resampling="bilinear")
    spec = EncoderSpec(
        name=name,
        dim=model.config.hidden_size,
        weights=weights or repository,
        weights_hash=hash_of(model),
        preprocessing=f"{preprocessing.describe()}; {windows.describe()}; mean of the tokens",
        settings=settings,
    )
    return VideoEncoder(spec, model, mean_token, preprocessing, windows, compute)


def load_model(folder: Path) -> Any:
    """Load the model of a folder, without its classifier. Raises FormatError."""
    from transformers import VideoMAEModel

    return load_transformers(VideoMAEModel, folder, renamed=RENAMED, zeros=KEY_BIAS)


def without_key_biases(model: Any) -> Any:
    """The model without what some releases of transformers have and no others: zeros that change nothing."""
    for name, module in model.named_modules():
        if name.endswith(KEY_BIAS.removesuffix(".bias")):
            module.register_parameter("bias", None)
    return model


def hash_of(model: nn.Module) -> str:
    """Digest of the weights, the same for all releases of transformers."""
    return weights_hash(model, without=KEY_BIAS)


def skeleton(variant: str) -> Skeleton | None:
    """Build the model without weights, for windows of 16 frames."""
    shape = SHAPES.get(variant or REPOSITORY)
    if shape is None:
        return None
    from transformers import VideoMAEConfig, VideoMAEModel

    model = without_key_biases(VideoMAEModel(VideoMAEConfig(**shape)))
    return Skeleton(model=model, read=mean_token, size=224, window=16)


def mean_token(model: nn.Module, pixels_BTCHW: Tensor) -> Tensor:
    tokens_BND: Tensor = model(pixel_values=pixels_BTCHW).last_hidden_state
    return tokens_BND.mean(dim=1)
