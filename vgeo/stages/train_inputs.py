"""What a run trains on: settings that fit the features, and the gallery it is measured on."""

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import InputError, SettingError
from vgeo.formats.features import FeatureFile
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.methods.base import Method, Retriever
from vgeo.methods.settings import from_dict
from vgeo.training.data import Split, check_encoders
from vgeo.training.store import FeatureStore

log = logging.getLogger(__name__)

DEFAULT_GALLERY = Path("gallery.h5")


def fitting_settings(cls: type[Method], values: dict[str, Any], file: FeatureFile, method: str) -> Any:
    """Settings as given; a method reads the encoders there are, at their widths, unless told otherwise.

    Where the file has some of its default encoders, it needs all of them: others would be another experiment.
    Raises InputError when it has not, SettingError when the settings do not go together.
    """
    names = {field.name for field in fields(cls.Config)}
    if {"encoder", "feature_dim"} <= names:
        default = values.get("encoder", cls.Config().encoder)
        if "encoder" not in values and default not in file.encoders and len(file.encoders) == 1:
            values["encoder"] = next(iter(file.encoders))
        if "feature_dim" not in values and values.get("encoder", default) in file.encoders:
            values["feature_dim"] = file.encoders[values.get("encoder", default)].dim
    if {"encoders", "feature_dims"} <= names:
        chosen = values.get("encoders", cls.Config().encoders)
        if "encoders" not in values and not set(chosen) & set(file.encoders):
            values["encoders"] = chosen = tuple(file.encoders)
            log.info("features of %s, which %s holds", ", ".join(chosen), file.path)
        if "feature_dims" not in values:
            check_encoders([file], chosen, method)  # their widths are not known otherwise
            values["feature_dims"] = tuple(file.encoders[name].dim for name in chosen)
    return from_dict(cls.Config, values)


def check_widths(model: Retriever, store: FeatureStore, encoders: Mapping[str, EncoderSpec], method: str) -> None:
    """Raise SettingError when the method cannot take the features: their widths are not those it is set to."""
    one = torch.zeros(1, 1, dtype=torch.int64)
    try:
        with torch.no_grad():
            model.queries(store.batch(one, one == 0))
    except RuntimeError as error:
        widths = ", ".join(f"{name} {spec.dim} wide" for name, spec in encoders.items())
        raise SettingError(
            f"{method} is not set to take features of {widths} ({str(error).splitlines()[0]}); change --set"
        ) from error


def training_gallery(path: Path | None, parts: Split, kind: str) -> Gallery:
    """The given gallery, the one that lies here, or the training positions as points."""
    if path is None and DEFAULT_GALLERY.exists():
        path = DEFAULT_GALLERY
        log.info("gallery %s", path)
    if path is not None:
        found = read_gallery(path)
        if not len(found):
            raise InputError(f"{path}: holds no places; make a gallery with 'vgeo build-gallery'")
        return Gallery(
            latlon_deg=found.latlon_deg,
            labels=found.labels,
            features=found.features if kind == "features" else {},
            encoders=found.encoders if kind == "features" else {},
            attributes=found.attributes,
        )
    points = np.unique(parts.train.latlon_deg, axis=0)
    log.info("no gallery.h5 here: the %d training positions serve as the gallery", len(points))
    return Gallery(latlon_deg=points, attributes={"kind": "points", "from": "training positions"})


def city_gallery(path: Path | None) -> Gallery:
    """The gallery that clips are put into."""
    if path is None and not DEFAULT_GALLERY.exists():
        raise InputError("--at takes positions from a gallery of cities; make one with 'vgeo build-gallery cities'")
    return read_gallery(path or DEFAULT_GALLERY)
