"""Train a method on feature files, and keep the best model, the last one and all that a resumed run needs."""

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vgeo import methods
from vgeo.device import Compute, announce, choose, seed_everything
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import SettingError, UsageError
from vgeo.formats.checkpoints import ModelFiles, save_model
from vgeo.formats.clip_list import read_clip_list
from vgeo.formats.features import FeatureFile
from vgeo.formats.gallery import Gallery
from vgeo.layers.ranks import rank, world_size
from vgeo.logs import SILENT, Progress
from vgeo.methods.base import Classifier, Method, Retriever
from vgeo.methods.settings import format_value, given, to_dict
from vgeo.stages.models import check_same_encoders
from vgeo.stages.train_inputs import check_widths, city_gallery, fitting_settings, training_gallery
from vgeo.stages.train_start import check_features, check_phase, load_start, read_start
from vgeo.training.cautions import cautions, check_compiler, far_off_km
from vgeo.training.centres import At, at_centres
from vgeo.training.data import Split, check_encoders, digest, split
from vgeo.training.distributed import agreed, check_same, joined
from vgeo.training.evaluate import Validation, gallery_keys, validate
from vgeo.training.folder import RunFolder, check_folder, locked
from vgeo.training.loop import Loop, Options
from vgeo.training.run import Run, Validate, format_km
from vgeo.training.store import FeatureStore

log = logging.getLogger(__name__)

DEFAULT_FEATURES = Path("features.h5")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run left behind."""

    folder: Path
    epochs: int  # finished, over all phases
    best_epoch: int
    median_error_km: float | None  # of the best model on the held-out frames; None when none are


def train(
    features: Sequence[Path] = (DEFAULT_FEATURES,),
    method: str | None = None,
    out: Path | None = None,
    *,
    start: Path | None = None,
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
    """Train and return where the model is. Under torchrun every process calls it alike, and all return the same.

    method: geoclip when None, or that of `start`. out: a folder, models/<method> when None. start: a model folder whose
    weights and settings a run starts with. gallery: places to validate on, and to be localized on later; gallery.h5
    when None and there, else the training positions. val: held-out feature files; else the label column "split", else
    `val_fraction` of the clips (0: none). clips: a list of those to train on, see clip_list.py; what is held out is not
    touched by it. at: "own" positions, or those of clips' cities, see centres.py. settings, config: of the method, see
    methods/settings.py. weights: {method: folder} of released weights to start from, as in `load_model`. resume: go on
    in `out` as if never stopped.
    Raises UsageError, SettingError, InputError, FormatError, OutputError, BusyError, DiskError.
    """
    with joined(compute or choose()) as here:
        source = None if start is None else read_start(start, method)
        name = source.method if source else method or "geoclip"
        cls = _trainable(name)
        if val and val_fraction is not None:
            raise UsageError("--val names what is held out, --val-fraction draws it: give one of them")
        folder = _target(out or Path("models") / name, start)
        check_folder(folder, overwrite, resume)
        files, val_files = ([FeatureFile.open(path) for path in paths] for paths in (features, val))
        listed = None if clips is None else read_clip_list(clips)
        if at != "own":
            cities = city_gallery(gallery)
            files, val_files = (at_centres(some, cities, at) for some in (files, val_files))
        _check_able(here, options)
        seed_everything(options.seed)
        model = _as_drawn(cls, name, source, given(cls.Config, config, settings), files[0])
        check_encoders([*files, *val_files], model.encoders, name)
        encoders = {encoder: files[0].encoders[encoder] for encoder in model.encoders}
        check_phase(model, name, options.phase, source)
        if source:
            check_features(source, encoders)
        if not resume:
            load_start(model, name, source, weights)
        parts = split(files, val_files, val_fraction, options.seed, listed)
        places = training_gallery(gallery, parts, cls.gallery_kind)
        model.to(here.device)
        store = FeatureStore(files, parts.train, model.encoders, here)
        check_widths(model, store, encoders, name)
        with nullcontext() if rank() else locked(folder):
            run = Run(
                loop=Loop(model, store, options, here, SILENT if rank() else progress),
                folder=RunFolder(folder, _saver(name, to_dict(model.config), encoders), places),
                validate=None if rank() else _validator(model, parts, places, here),
                settings=_identity(name, model.config, encoders, options, here, parts, places, source),
                eval_every=eval_every,
            )
            if resume:
                run.resume()
            check_same(run.settings, here.device)
            _announce(name, model, options, parts, places, here)
            run.train()
            return _result(run, folder, here)


def _trainable(method: str) -> type[Method]:
    cls = methods.get(method)
    if not cls.phases:
        raise UsageError(f"{method} has nothing to train; use it right away: vgeo localize CLIP --model {method}")
    return cls


def _target(folder: Path, start: Path | None) -> Path:
    """The folder itself where the name is a link to one: what is exchanged for a new one must not be the link.

    Raises UsageError where the model to start from lies in it.
    """
    if start is not None and folder.resolve() in (start.resolve(), *start.resolve().parents):
        raise UsageError(f"--from {start}: lies in the folder that is written; give another one with --out")
    return folder.resolve() if folder.is_symlink() or not folder.name else folder


def _as_drawn(
    cls: type[Method], name: str, source: ModelFiles | None, changed: dict[str, Any], file: FeatureFile
) -> Method:
    """The method with its random weights: settings are the source's, what is changed, and what fits the features."""
    if source:
        check_same_encoders(source, changed)
    return cls(fitting_settings(cls, (source.config if source else {}) | changed, file, name))


def _check_able(compute: Compute, options: Options) -> None:
    """Raise SettingError where the device cannot do what is asked."""
    if compute.device.type == "mps":
        raise SettingError("training computes distances in float64, which mps does not have; use --device cpu")
    if options.compile:
        check_compiler()


def _identity(
    method: str,
    config: Any,
    encoders: dict[str, EncoderSpec],
    options: Options,
    compute: Compute,
    parts: Split,
    places: Gallery,
    source: ModelFiles | None,
) -> dict[str, Any]:
    """What must be the same for a resumed run to go on as if it had never stopped."""
    return {
        "method": method,
        "settings": to_dict(config),
        "starts from": source and source.hash,
        "phase": options.phase,
        "encoders": {
            name: {"weights": s.weights_hash, "preprocessing": s.preprocessing} for name, s in encoders.items()
        },
        "batch size": options.batch_size,
        "accumulate": options.accumulate,
        "seed": options.seed,
        "precision": "bf16" if compute.mixed else "fp32",
        "compiled": options.compile,
        "processes": world_size(),  # rounding and dropout differ
        "training data": digest(parts.train),
        "held-out data": parts.val and digest(parts.val),
        "gallery": places.digest,
    }


def _announce(name: str, model: Method, options: Options, parts: Split, places: Gallery, compute: Compute) -> None:
    """Say what is about to be trained, on what, with which settings, and what of it is odd."""
    announce(compute)
    if world_size() > 1:
        log.info("%d processes share each batch", world_size())
    phases = [phase for phase in model.phases if options.phase in (None, phase)]
    weights = {id(p): p.numel() for phase in phases for p in model.trainable(phase)}
    config = model.config
    changed = {k: v for k, v in to_dict(config).items() if v != to_dict(type(config)()).get(k)}
    said = " ".join(f"{key}={format_value(value)}" for key, value in changed.items()) or "as published"
    log.info("%s, %.2f M weights to train; settings: %s", name, sum(weights.values()) / 1e6, said)
    log.debug("all settings: %s", " ".join(f"{key}={format_value(v)}" for key, v in to_dict(config).items()))
    held = (
        f"{len(parts.val)} frames of {len(parts.val.video_ids)} held out ({parts.how})"
        if parts.val
        else "none held out"
    )
    off_km = far_off_km((parts.val or parts.train).latlon_deg, places.latlon_deg)
    log.info(
        "%d frames of %d clips; %s; gallery of %d places, %s from them (median)",
        len(parts.train),
        len(parts.train.video_ids),
        held,
        len(places),
        format_km(off_km),
    )
    for caution in cautions(model, phases, options, parts.train, off_km):
        log.warning(caution)


def _result(run: Run, folder: Path, compute: Compute) -> TrainResult:
    """What came of it; the first process knows, and the others wait for it."""
    epochs, best_epoch, median = 0.0, 0.0, math.nan
    if run.kept is not None:
        best = run.kept.best
        epochs, best_epoch = len(run.kept.metrics), best.epoch
        median = best.validation["median_error_km"] if best.validation else math.nan
        error = "" if math.isnan(median) else f", median error {format_km(median)}"
        phase = run.loop.method.phases[best.phase]
        log.info("%s: best model of %s epoch %d%s; the last one is in last/", folder, phase, best_epoch, error)
        for name, km in _ended(run, phase).items():
            if km < median:
                log.warning("%s had ended at %s: --phase %s trains it alone", name, format_km(km), name)
    epochs, best_epoch, median = agreed([epochs, best_epoch, median], compute.device)
    return TrainResult(
        folder=folder,
        epochs=int(epochs),
        best_epoch=int(best_epoch),
        median_error_km=None if math.isnan(median) else median,
    )


def _ended(run: Run, phase: str) -> dict[str, float]:
    """The last median errors of the phases before the one that the best model is of."""
    measured = [line for line in run.kept.metrics if line.get("validation")] if run.kept else []
    return {line["phase"]: line["validation"]["median_error_km"] for line in measured if line["phase"] != phase}


def _saver(method: str, config: dict[str, Any], encoders: dict[str, EncoderSpec]) -> Any:
    def save(folder: Path, weights: Any, about: dict[str, Any], more: Any) -> None:
        save_model(folder, method=method, config=config, encoders=encoders, state=weights, extra=about, write_more=more)

    return save


def _validator(model: Method, parts: Split, places: Gallery, compute: Compute) -> Validate | None:
    """What measures the held-out frames; None when there are none. Keys that a phase does not move are kept."""
    if parts.val is None:
        return None
    store = FeatureStore(parts.val_files, parts.val, model.encoders, compute)
    kept: dict[str, Tensor] = {}  # of the phase that is being trained

    def measure(phase: str) -> Validation:
        if phase not in kept:
            kept.clear()
        keys_GE = kept[phase] if phase in kept else gallery_keys(model, places, compute.device)
        if not model.moves_keys(phase):
            kept[phase] = keys_GE
        return validate(model, store, places, keys_GE)

    return measure
