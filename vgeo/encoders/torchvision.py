"""Any convolutional ImageNet classifier of torchvision as a place descriptor: `torchvision:resnet50`.

The last convolutional feature map, pooled by generalised means (GeM: Radenovic et al., TPAMI 2019, sec. 3.2; p = 3) and
L2-normalised. Models without such a map (vit_*) are refused: clip, dinov2 and siglip are the transformers.

Settings: `size` in pixels; `crop` squash (the whole frame: a place is more than its middle) or center; `p` of GeM;
`input_style` imagenet, or caffe (BGR, 0..255, minus 104, 117, 123) for weights that come from Caffe.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torch.nn import functional

from vgeo.encoders._hub import TIMEOUT_S, missing_model, weights_hash
from vgeo.encoders._images import CROPS, IMAGENET, Preprocessing, read_choice, read_settings, read_size
from vgeo.encoders._state_file import read_state
from vgeo.encoders._vision import VisionEncoder
from vgeo.encoders.base import Encoder, EncoderSpec, Skeleton
from vgeo.errors import FormatError, UsageError, first_line
from vgeo.logs import wants_bar

if TYPE_CHECKING:
    from vgeo.device import Compute

SETTINGS = {"size": "224", "crop": "squash", "p": "3", "input_style": "imagenet"}
CAFFE = ((104.0, 117.0, 123.0), (1.0, 1.0, 1.0))  # mean of ImageNet in BGR, as Caffe's models subtract it
INCEPTIONS = ("googlenet", "inception_v3")  # whose own initialisation is slow
CLASSIFIERS = ("classifier", "fc", "head", "heads", "AuxLogits", "aux1", "aux2")


def load(variant: str, compute: "Compute", *, weights: str | None, settings: dict[str, str], offline: bool) -> Encoder:
    """Load a classifier and find its last feature map.

    variant: a name of torchvision.models. weights: a state dict, .safetensors or .pth, loaded strictly.
    Raises UsageError, InputError, FormatError or MissingModelError.
    """
    values = read_settings("torchvision", settings, SETTINGS)
    caffe = read_choice("input_style", values["input_style"], ("imagenet", "caffe")) == "caffe"
    size, power = read_size("size", values["size"]), _read_power(values["p"])
    model, source = _load_model(variant, weights, offline)
    preprocessing = Preprocessing(
        size=size,
        crop=read_choice("crop", values["crop"], CROPS),
        mean_std=CAFFE if caffe else IMAGENET,
        resampling="bilinear",
        caffe=caffe,
    )
    layer, dim = _last_feature_map(model, variant, size)
    digest = weights_hash(model)
    spec = EncoderSpec(
        name=f"torchvision:{variant}",
        dim=dim,
        weights=source,
        weights_hash=digest,
        preprocessing=f"{preprocessing.describe()}; GeM p={power:g} of {layer}, L2",
        settings=settings,
    )
    return VisionEncoder(spec, _GeM(model, layer, power), _describe, preprocessing, compute)


def skeleton(variant: str) -> Skeleton:
    """Build the classifier without weights, for frames of the default size. Raises UsageError, as `load` does."""
    model, size = _build(variant).eval(), int(SETTINGS["size"])
    layer, _ = _last_feature_map(model, variant, size)
    return Skeleton(model=_GeM(model, layer, float(SETTINGS["p"])), read=_describe, size=size)


class _GeM(nn.Module):
    """Pools what the layer of a classifier gives."""

    def __init__(self, model: nn.Module, layer: str, power: float) -> None:
        super().__init__()
        self.model = model
        self._power = power
        self._map_BDHW: Tensor | None = None
        model.get_submodule(layer).register_forward_hook(self._keep)

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        self.model(pixels_BCHW)
        assert self._map_BDHW is not None
        map_BDHW, self._map_BDHW = self._map_BDHW.float(), None
        pooled_BD = map_BDHW.clamp(min=1e-6).pow(self._power).mean(dim=(2, 3)).pow(1 / self._power)
        return functional.normalize(pooled_BD, dim=1)

    def _keep(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self._map_BDHW = output


def _describe(model: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    features: Tensor = model(pixels_BCHW)
    return features


def _last_feature_map(model: nn.Module, variant: str, size: int) -> tuple[str, int]:
    """Return name and channels of the last layer that gives [B, D, H, W] before the classifier. Raises UsageError."""
    maps: list[tuple[str, torch.Size]] = []

    def watch(name: str) -> Any:
        def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and not isinstance(module, nn.AdaptiveAvgPool2d):
                maps.append((name, output.shape))

        return keep

    layers = [(name, layer) for name, layer in model.named_modules() if name and name.split(".")[0] not in CLASSIFIERS]
    hooks = [layer.register_forward_hook(watch(name)) for name, layer in layers]
    try:
        with torch.inference_mode():
            model(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(f"torchvision:{variant} does not take {size} x {size} pixels; use --set size=N") from error
    finally:
        for hook in hooks:
            hook.remove()
    name, shape = maps[-1]
    if name == "conv_proj" or min(shape[-2:]) < 2:  # of a transformer: its only map is that of the patches
        raise UsageError(
            f"torchvision:{variant} has no last convolutional map at {size} px; use a larger size or a CNN"
        )
    return name, int(shape[1])


def _load_model(variant: str, weights: str | None, offline: bool) -> tuple[nn.Module, str]:
    """Build a classifier, load its weights strictly, and say where they came from."""
    model = _build(variant)
    if weights is None:
        from torchvision import models

        default: Any = models.get_model_weights(variant)["DEFAULT"]
        state, source = download(f"torchvision:{variant}", default.url, offline), str(default)
        if variant in INCEPTIONS:
            model.transform_input = True  # type: ignore[assignment]  # these two were trained on another range
    else:
        state, source = read_state(Path(weights)), weights
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise FormatError(
            f"{source}: does not fit {variant} ({' '.join(lines[1:2] or lines)[:160].strip()})"
        ) from error
    return model.requires_grad_(False).eval(), source


def _build(variant: str) -> nn.Module:
    """Build a classifier without its weights. Raises UsageError for an unknown name."""
    from torchvision import models

    if variant not in models.list_models(module=models):
        raise UsageError(f"torchvision:{variant}: no such classifier; for instance torchvision:resnet50, squeezenet1_0")
    more = {"init_weights": False} if variant in INCEPTIONS else {}
    model: nn.Module = models.get_model(variant, weights=None, **more)
    return model


def download(name: str, url: str, offline: bool) -> dict[str, Tensor]:
    """Return the state dict behind a URL of torchvision, from torch's cache where it is there."""
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    if cached.is_file():
        return read_state(cached)
    bring = f"curl -LO {url}"
    if offline:
        raise missing_model(name, url, "--offline forbids to download them", bring)
    try:
        with _timeout(), redirect_stdout(sys.stderr):  # where torch says that it downloads; stdout is data
            state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=wants_bar(), check_hash=True, weights_only=True
            )
    except (URLError, OSError, RuntimeError) as error:
        raise missing_model(name, url, f"cannot be downloaded ({first_line(error)})", bring) from error
    return state


@contextmanager
def _timeout() -> Iterator[None]:
    """Give torch's downloads, which have none, a time limit for silence."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(4 * TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read_power(value: str) -> float:
    try:
        power = float(value)
    except ValueError:
        power = 0.0
    if not 1 <= power <= 20:
        raise UsageError(f"--set p={value}: not a number from 1 (mean) to 20 (almost the maximum)")
    return power
