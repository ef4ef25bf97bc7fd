"""GeoCLIP's released weights, as the package `geoclip` carries them or as a release folder holds them.

Two layouts: `model/weights/*.pth` beside `model/gps_gallery/coordinates_100K.csv` (the package, found without being
imported: it would pull in pandas), and `config.json`, `model.safetensors` and a CSV file (its release folders).
"""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vgeo.errors import FormatError, InputError, MissingModelError
from vgeo.formats.checkpoints import load_pth, load_safetensors
from vgeo.formats.streams import parse_json, read_text

# A file that holds a lone tensor gives it this name.
_PARTS = {
    "location_encoder_weights.pth": "",
    "image_encoder_mlp_weights.pth": "",
    "logit_scale_weights.pth": "logit_scale",
}
_PREFIXES = ("location_encoder.", "image_encoder.mlp.")
_SIGMAS = [1, 16, 256]
_MODEL_TYPE = "geoclip-geolocation"


@dataclass(frozen=True, slots=True)
class GeoClipRelease:
    """Released tensors under the package's names, and the gallery of 100,000 points that goes with them."""

    tensors: dict[str, Tensor]  # `LocEnc{i}.*`, `0.*` and `2.*` (image MLP), `logit_scale`
    gallery: Path | None  # CSV with LAT,LON


def read_geoclip_release(folder: str | os.PathLike[str] | None = None) -> GeoClipRelease:
    """Read the released weights from a folder in either layout, or from the installed package.

    Raises MissingModelError when the package is not installed, InputError when the folder holds none, FormatError.
    """
    if folder is None:
        folder = _package_folder()
    root = Path(folder)
    if (root / "config.json").is_file():
        return _read_release_folder(root)
    for weights in (root / "model" / "weights", root / "weights", root):
        if (weights / "location_encoder_weights.pth").is_file():
            return _read_package(weights)
    raise InputError(
        f"{root}: holds no GeoCLIP weights; expected config.json and model.safetensors, or weights/*.pth of the package"
    )


def _package_folder() -> Path:
    found = importlib.util.find_spec("geoclip")  # finds, does not import
    if found is None or found.origin is None:
        raise MissingModelError(
            "GeoCLIP's released weights are not here; get them with: pip install geoclip "
            "(or copy the package's folder and give --weights geoclip=FOLDER)"
        )
    return Path(found.origin).parent


def _read_package(weights: Path) -> GeoClipRelease:
    tensors: dict[str, Tensor] = {}
    for file, name in _PARTS.items():
        part = load_pth(weights / file)
        tensors |= {name: part[""]} if name and "" in part else part
    gallery = weights.parent / "gps_gallery" / "coordinates_100K.csv"
    return _checked(tensors, gallery if gallery.is_file() else None, weights)


def _read_release_folder(root: Path) -> GeoClipRelease:
    where = root / "config.json"
    config = parse_json(read_text(where, 2**20), where)
    if not isinstance(config, dict) or config.get("model_type") != _MODEL_TYPE or config.get("format_version") != 1:
        raise FormatError(f"{where}: not a {_MODEL_TYPE} release of format 1")
    if config.get("sigma") != _SIGMAS:
        raise FormatError(f"{where}: sigmas {config.get('sigma')}, expected {_SIGMAS}")
    tensors = {}
    for name, tensor in load_safetensors(root / "model.safetensors").items():
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        tensors[name.removeprefix(prefix)] = tensor
    file = config.get("gallery_file")
    named = isinstance(file, str) and file.endswith(".csv") and Path(file).name == file
    gallery = root / str(file)
    return _checked(tensors, gallery if named and gallery.is_file() else None, root)


def _checked(tensors: dict[str, Tensor], gallery: Path | None, where: Path) -> GeoClipRelease:
    expected = {f"{layer}.{part}" for layer in ("0", "2") for part in ("weight", "bias")} | {"logit_scale"}
    for i in range(len(_SIGMAS)):
        layers = ("capsule.1", "capsule.3", "capsule.5", "head.0")
        expected |= {f"LocEnc{i}.{layer}.{part}" for layer in layers for part in ("weight", "bias")}
        expected.add(f"LocEnc{i}.capsule.0.b")
    missing = sorted(expected - set(tensors))
    if missing:
        raise FormatError(f"{where}: not GeoCLIP's weights: {len(missing)} tensors are missing, such as {missing[0]}")
    return GeoClipRelease({name: tensors[name] for name in expected}, gallery)
