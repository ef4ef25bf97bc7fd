"""A ResNet trained on Places365 as an encoder: how probable each of the 365 categories is (Zhou et al., TPAMI 2018).

Its weights are a local file, such as resnet50_places365.pth.tar of the data set's authors. Frames are seen as ISNs see
them (Müller-Budack et al., ECCV 2018, the published code): all of a frame to 256 x 256, of that the middle 224 x 224.

Shapes: B frames, C categories.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from vgeo.encoders._hub import weights_hash
from vgeo.encoders._images import IMAGENET, Preprocessing
from vgeo.encoders._state_file import read_state
from vgeo.encoders._vision import VisionEncoder
from vgeo.encoders.base import Encoder, EncoderSpec
from vgeo.errors import FormatError

if TYPE_CHECKING:
    from vgeo.device import Compute

CATEGORIES = 365
# Whether blocks are bottlenecks, and how many there are in each layer.
_RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}


def load_places365(path: Path, compute: "Compute") -> Encoder:
    """Load a network that gives probabilities [B, 365]. Raises InputError where there is no such file, FormatError."""
    state = read_state(path)
    name = _architecture(state, path)
    from torchvision import models

    model: nn.Module = models.get_model(name, weights=None, num_classes=CATEGORIES)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise FormatError(f"{path}: does not fit {name} ({' '.join(lines[1:2] or lines)[:160].strip()})") from error
    model.requires_grad_(False).eval()
    preprocessing = Preprocessing(size=224, shorter=256, crop="squash center", mean_std=IMAGENET, resampling="bilinear")
    spec = EncoderSpec(
        name=f"places365:{name}",
        dim=CATEGORIES,
        weights=str(path),
        weights_hash=weights_hash(model),
        preprocessing=f"{preprocessing.describe()}; probabilities",
        settings={},
    )
    return VisionEncoder(spec, model, _probabilities, preprocessing, compute)


def _architecture(state: dict[str, Tensor], path: Path) -> str:
    """The name of the ResNet whose tensors these are. Raises FormatError."""
    blocks = tuple(len({key.split(".")[1] for key in state if key.startswith(f"layer{n}.")}) for n in range(1, 5))
    name = _RESNETS.get(("layer1.0.conv3.weight" in state, blocks))
    if name is None or "fc.weight" not in state:
        raise FormatError(f"{path}: not the weights of a ResNet; take resnet18, 50 or 152 of Places365")
    outputs = state["fc.weight"].shape[:1]
    if tuple(outputs) != (CATEGORIES,):
        raise FormatError(
            f"{path}: a network of {outputs[0] if outputs else 'no'} outputs, not the {CATEGORIES} of Places365"
        )
    return name


def _probabilities(model: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    probabilities_BC: Tensor = model(pixels_BCHW).float().softmax(dim=1)
    return probabilities_BC
