"""Models: a method with its weights, from a model folder or as released."""

import logging
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vgeo import methods
from vgeo.device import Compute
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, MissingModelError, SettingError
from vgeo.formats.checkpoints import CONFIG, ModelFiles, model_hash, read_model
from vgeo.formats.geoclip_release import GeoClipRelease, read_geoclip_release
from vgeo.methods.base import Classifier, Method, Retriever
from vgeo.methods.settings import differences, format_value, from_dict, given, resolve, to_dict

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A method ready for use, and what it belongs to."""

    name: str  # of the method
    method: Method  # in evaluation mode, on its device
    encoders: dict[str, EncoderSpec]  # whose features it reads; a weights_hash of "" matches any weights
    hash: str  # over method, settings and tensors: its keys carry this
    folder: Path | None  # None: released weights, or none at all
    gallery: Path | None  # its own candidates
    rate_hz: float | None = None  # of the frames that it was trained on, where their spacing matters and is known

    @property
    def retriever(self) -> Retriever:
        """The method, where it compares frames with a gallery."""
        assert isinstance(self.method, Retriever)
        return self.method

    @property
    def classifier(self) -> Classifier:
        """The method, where it knows places as classes."""
        assert isinstance(self.method, Classifier)
        return self.method


def load_model(
    path_or_name: str | os.PathLike[str] | None = None,
    *,
    settings: Sequence[str] = (),
    weights: Mapping[str, str] | None = None,
    compute: Compute | None = None,
) -> Model:
    """Load a model folder, or a method by its name with its released weights. None is `geoclip`.

    A folder that is named like a method is meant by `./geoclip`.

    settings: `key=value` over the model's own. weights: {"geoclip": FOLDER} instead of the installed package.
    compute: device; the CPU when None.
    Raises InputError for no such folder, MissingModelError when there are no weights, FormatError, SettingError.
    """
    text = os.fspath(path_or_name) if path_or_name is not None else "geoclip"
    named = text in methods.names()
    model = _released(text, settings, weights or {}) if named else _from_folder(Path(text), settings)
    model.method.eval()
    if compute is not None:
        model.method.to(compute.device)
    return model


def load_released(method: Method, name: str, weights: Mapping[str, str] | None = None) -> list[str]:
    """Load GeoCLIP's released weights into a method whose settings start from them (`init=released`); else do nothing.

    name: of the method. weights: as in `load_model`. Returns (and says) what stays as it was drawn.
    Raises MissingModelError, SettingError when widths are not those of the release.
    """
    if getattr(method.config, "init", "scratch") != "released":
        return []
    return _take_over(method, read_geoclip_release((weights or {}).get(name)))


def _released(name: str, settings: Sequence[str], weights: Mapping[str, str]) -> Model:
    cls = methods.get(name)
    config: Any = resolve(cls.Config, None, settings)
    gallery = None
    encoders = {}
    release = _release(name, weights) if cls.phases else None
    method = cls(config)
    if release is not None:
        if _take_over(method, release):
            raise SettingError(f"{name}: with these settings parts of it are untrained; train it with 'vgeo train'")
        gallery = release.gallery
        encoders = {e: _any_weights(e, config.feature_dim) for e in method.encoders}
        log.info("model %s as released (%s)", name, cls.license_note)
    digest = model_hash(name, to_dict(config), method.state_dict())
    return Model(name=name, method=method, encoders=encoders, hash=digest, folder=None, gallery=gallery)


def _release(name: str, weights: Mapping[str, str]) -> GeoClipRelease:
    if name != "geoclip":
        raise MissingModelError(
            f"method {name} has no released weights; train it with 'vgeo train --method {name}' "
            f"and give the folder with --model models/{name}"
        )
    return read_geoclip_release(weights.get(name))


def _take_over(method: Method, release: GeoClipRelease) -> list[str]:
    """Load released tensors; return (and say) what stays as it was drawn."""
    load = getattr(method, "load_released", None)
    if load is None:
        raise SettingError(f"{type(method).__name__}: has no released weights to start from; use --set init=scratch")
    try:
        drawn: list[str] = load(release.tensors)
    except ValueError as error:
        raise SettingError(f"{error}; change them back, or --set init=scratch") from error
    if drawn:
        log.info("released weights, but from scratch: %s", ", ".join(drawn))
    return drawn


def _any_weights(name: str, dim: int) -> EncoderSpec:
    """An encoder of which only name and width are known."""
    return EncoderSpec(name=name, dim=dim, weights="", weights_hash="", preprocessing="", settings={})


def _from_folder(folder: Path, settings: Sequence[str]) -> Model:
    if not folder.exists():
        known = ", ".join(methods.names())
        raise InputError(f"{folder}: no such model folder, nor a method ({known}); make one with 'vgeo train'")
    files = read_model(folder)
    if files.method not in methods.names():
        raise FormatError(f"{folder}: was made by method {files.method!r}, which this vgeo does not have")
    cls = methods.get(files.method)
    config: Any = from_dict(cls.Config, files.config, str(folder / CONFIG))
    if settings:
        changed = given(cls.Config, None, settings)
        check_same_encoders(files, changed)
        trained, config = to_dict(config), from_dict(cls.Config, to_dict(config) | changed, "--set")
        if found := differences(trained, to_dict(config)):
            log.info("otherwise than trained: %s", "; ".join(found))
    method = cls(config)
    load_strictly(method, files)
    digest = model_hash(files.method, to_dict(config), files.state) if settings else files.hash
    rate_hz = files.extra.get("rate_hz")
    return Model(
        name=files.method,
        method=method,
        encoders=files.encoders,
        hash=digest,
        folder=folder,
        gallery=files.gallery,
        rate_hz=float(rate_hz) if isinstance(rate_hz, int | float) and 0 < rate_hz < math.inf else None,
    )


def check_same_encoders(files: ModelFiles, changed: Mapping[str, Any]) -> None:
    """Raise SettingError when settings name other encoders, or in another order, than a model was trained on.

    Where their features are as wide, its weights would fit and answer nonsense.
    """
    for key in {"encoder", "encoders"} & changed.keys() & files.config.keys():
        was, wanted = (format_value(values[key]) for values in (files.config, changed))
        if was != wanted:
            raise SettingError(
                f"{files.folder}: was trained on features of {was}, not of {wanted}; leave out --set {key}"
            )


def load_strictly(method: Method, files: ModelFiles, drawn: Collection[str] = ()) -> None:
    """Load a model's tensors; the modules of `drawn` stay as they are, whatever the model holds of them.

    Raises FormatError that names the first tensor of another shape.
    """
    own, stored = (
        {name: tuple(tensor.shape) for name, tensor in state.items() if name.partition(".")[0] not in drawn}
        for state in (method.state_dict(), files.state)
    )
    for name in sorted(own.keys() | stored.keys()):
        if own.get(name) != stored.get(name):
            raise FormatError(
                f"{files.folder}: {name} is {stored.get(name, 'missing')}, its settings ask for "
                f"{own.get(name, 'none')}; --set must not change a trained model's architecture"
            )
    with torch.no_grad():
        method.load_state_dict({name: files.state[name] for name in own}, strict=not drawn)
