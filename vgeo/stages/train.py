"""Train a method on feature files, and keep the best model, the last one and all that a resumed run needs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgeo import methods
from vgeo.device import Compute, announce, choose, seed_everything
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import InputError, SettingError, UsageError
from vgeo.formats.checkpoints import save_model
from vgeo.formats.clip_list import read_clip_list
from vgeo.formats.features import FeatureFile
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.logs import SILENT, Progress
from vgeo.methods.base import Method
from vgeo.methods.settings import format_value, from_dict, given, to_dict
from vgeo.stages.models import load_released
from vgeo.training.centres import At, at_centres
from vgeo.training.data import Split, check_encoders, digest, split
from vgeo.training.evaluate import Validation, validate
from vgeo.training.folder import RunFolder, check_folder, locked
from vgeo.training.loop import Loop, Options
from vgeo.training.run import Run, format_km
from vgeo.training.store import FeatureStore

log = logging.getLogger(__name__)

DEFAULT_FEATURES, DEFAULT_GALLERY = Path("features.h5"), Path("gallery.h5")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run left behind."""

    folder: Path
    epochs: int  # finished, over all phases
    best_epoch: int
    median_error_km: float | None  # of the best model on the held-out frames; None when none are


def train(
    features: Sequence[Path] = (DEFAULT_FEATURES,),
    method: str = "geoclip",
    out: Path | None = None,
    *,
    gallery: Path | None = None,
    val: Sequence[Path] = (),
    val_fraction: float | None = None,
    clips: Path | None = None,
    at: At = "own",
    settings: Sequence[str] = (),
    config: Path | None = None,
    weights: Mapping[str, str] | None = None,
    options: Options = Options(),
    eval_every: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    compute: Compute | None = None,
    progress: Progress = SILENT,
) -> TrainResult:
    """Train and return where the model is.

    out: a folder, models/<method> when None. gallery: places to validate on, and to be localized on later; gallery.h5
    when None and there, else the training positions. val: held-out feature files; else the label column "split", else
    `val_fraction` of the clips (0: none). clips: a list of those to train on, see clip_list.py; what is held out is not
    touched by it. at: "own" positions, or those of clips' cities, see centres.py. settings, config: of the method, see
    methods/settings.py. weights: {method: folder} of released weights to start from, as in `load_model`. resume: go on
    in `out` as if never stopped.
    Raises UsageError, SettingError, InputError, FormatError, OutputError, BusyError, DiskError.
    """
    cls = _trainable(method)
    if val and val_fraction is not None:
        raise UsageError("--val names what is held out, --val-fraction draws it: give one of them")
    folder = _target(out or Path("models") / method)
    check_folder(folder, overwrite, resume)
    files, val_files = ([FeatureFile.open(path) for path in paths] for paths in (features, val))
    listed = None if clips is None else read_clip_list(clips)
    if at != "own":
        cities = _cities(gallery)
        files, val_files = (at_centres(some, cities, at) for some in (files, val_files))
    chosen = _settings(cls, given(cls.Config, config, settings), files[0])
    compute = compute or choose()
    if compute.device.type == "mps":
        raise SettingError("training computes distances in float64, which mps does not have; use --device cpu")
    seed_everything(options.seed)
    model = cls(chosen)
    check_encoders([*files, *val_files], model.encoders, method)
    if not resume:
        load_released(model, method, weights)
    model.to(compute.device)
    encoders = {name: files[0].encoders[name] for name in model.encoders}
    parts = split(files, val_files, val_fraction, options.seed, listed)
    places = _gallery(gallery, parts, cls.gallery_kind)
    store = FeatureStore(files, parts.train, model.encoders, compute)
    _try(model, store, encoders, method)
    with locked(folder):
        run = Run(
            loop=Loop(model, store, options, compute, progress),
            folder=RunFolder(folder, _saver(method, to_dict(chosen), encoders), places),
            validate=_validator(model, parts, places, compute),
            settings=_identity(method, chosen, encoders, options, compute, parts, places),
            eval_every=eval_every,
        )
        if resume:
            run.resume()
        _announce(method, model, chosen, parts, places, compute)
        run.train()
    return _result(run, folder)


def _trainable(method: str) -> type[Method]:
    cls = methods.get(method)
    if not cls.phases:
        raise UsageError(f"{method} has nothing to train; use it right away: vgeo localize CLIP --model {method}")
    return cls


def _target(folder: Path) -> Path:
    """The folder itself where the name is a link to one: what is exchanged for a new one must not be the link."""
    return folder.resolve() if folder.is_symlink() or not folder.name else folder


def _settings(cls: type[Method], values: dict[str, Any], file: FeatureFile) -> Any:
    """Settings as given; a method reads the encoders there are, at their widths, unless told otherwise.

    Where the file has some of its default encoders, it needs all of them: others would be another experiment.
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
        if "feature_dims" not in values and set(chosen) <= set(file.encoders):
            values["feature_dims"] = tuple(file.encoders[name].dim for name in chosen)
    return from_dict(cls.Config, values)


def _try(model: Method, store: FeatureStore, encoders: dict[str, EncoderSpec], method: str) -> None:
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


def _identity(
    method: str,
    config: Any,
    encoders: dict[str, EncoderSpec],
    options: Options,
    compute: Compute,
    parts: Split,
    places: Gallery,
) -> dict[str, Any]:
    """What must be the same for a resumed run to go on as if it had never stopped."""
    return {
        "method": method,
        "settings": to_dict(config),
        "encoders": {
            name: {"weights": s.weights_hash, "preprocessing": s.preprocessing} for name, s in encoders.items()
        },
        "batch size": options.batch_size,
        "accumulate": options.accumulate,
        "seed": options.seed,
        "precision": "bf16" if compute.mixed else "fp32",
        "training data": digest(parts.train),
        "held-out data": parts.val and digest(parts.val),
        "gallery": places.digest,
    }


def _announce(method: str, model: Method, config: Any, parts: Split, places: Gallery, compute: Compute) -> None:
    """Say what is about to be trained, on what, with which settings."""
    announce(compute)
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    changed = {k: v for k, v in to_dict(config).items() if v != to_dict(type(config)()).get(k)}
    said = " ".join(f"{name}={format_value(value)}" for name, value in changed.items()) or "as published"
    log.info("%s, %.2f M weights to train; settings: %s", method, weights / 1e6, said)
    log.debug("all settings: %s", " ".join(f"{name}={format_value(v)}" for name, v in to_dict(config).items()))
    held = (
        f"{len(parts.val)} frames of {len(parts.val.video_ids)} held out ({parts.how})"
        if parts.val
        else "none held out"
    )
    log.info(
        "%d frames of %d clips; %s; gallery of %d places",
        len(parts.train),
        len(parts.train.video_ids),
        held,
        len(places),
    )


def _result(run: Run, folder: Path) -> TrainResult:
    assert run.kept is not None
    best = run.kept.best
    median = best.validation["median_error_km"] if best.validation else None
    error = f", median error {format_km(median)}" if median is not None else ""
    log.info("%s: best model of epoch %d%s; the last one is in last/", folder, best.epoch, error)
    return TrainResult(folder=folder, epochs=len(run.kept.metrics), best_epoch=best.epoch, median_error_km=median)


def _gallery(path: Path | None, parts: Split, kind: str) -> Gallery:
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


def _cities(path: Path | None) -> Gallery:
    """The gallery that clips are put into."""
    if path is None and not DEFAULT_GALLERY.exists():
        raise InputError("--at takes positions from a gallery of cities; make one with 'vgeo build-gallery cities'")
    return read_gallery(path or DEFAULT_GALLERY)


def _saver(method: str, config: dict[str, Any], encoders: dict[str, EncoderSpec]) -> Any:
    def save(folder: Path, weights: Any, about: dict[str, Any], more: Any) -> None:
        save_model(folder, method=method, config=config, encoders=encoders, state=weights, extra=about, write_more=more)

    return save


def _validator(model: Method, parts: Split, places: Gallery, compute: Compute) -> Any:
    if parts.val is None:
        return None
    store = FeatureStore(parts.val_files, parts.val, model.encoders, compute)

    def measure() -> Validation:
        return validate(model, store, places, compute.device)

    return measure
