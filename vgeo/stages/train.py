"""Train a method, and keep the best model, the last one and all that a resumed run needs."""

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgeo import methods
from vgeo.device import Compute, announce, choose, seed_everything
from vgeo.errors import SettingError, UsageError
from vgeo.formats.checkpoints import save_model
from vgeo.formats.clip_list import read_clip_list
from vgeo.formats.picture_place import PICTURED
from vgeo.layers.ranks import rank, world_size
from vgeo.logs import SILENT, Progress
from vgeo.methods.base import Classifier, Method
from vgeo.methods.settings import format_value, given, to_dict
from vgeo.stages.train_aerial import prepare_pairs
from vgeo.stages.train_classes import prepare_classes
from vgeo.stages.train_prepare import Prepared, Request, prepare_search
from vgeo.stages.train_regions import prepare_sequences
from vgeo.stages.train_start import read_start
from vgeo.training.cautions import cautions, check_compiler
from vgeo.training.centres import At
from vgeo.training.data import digest
from vgeo.training.distributed import agreed, check_same, joined
from vgeo.training.folder import RunFolder, check_folder, locked
from vgeo.training.loop import Loop, Options
from vgeo.training.measures import Validated, short
from vgeo.training.measures import rank as rank_of
from vgeo.training.run import Run

log = logging.getLogger(__name__)

DEFAULT_FEATURES, DEFAULT_FRAMES = Path("features.h5"), Path("frames")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run left behind."""

    folder: Path
    epochs: int  # finished, over all phases
    best_epoch: int
    # Of the best model, on what is held out; None where nothing is, or the method is not measured so.
    median_error_km: float | None = None
    right: float | None = None  # share of clips in the right city


def train(
    features: Sequence[Path] = (),
    method: str | None = None,
    out: Path | None = None,
    *,
    start: Path | None = None,
    gallery: Path | None = None,
    tiles: Path | None = None,
    rankings: Path | None = None,
    val: Sequence[Path] = (),
    val_fraction: float | None = None,
    clips: Path | None = None,
    at: At = "own",
    labels: Path | None = None,
    scenes: Path | None = None,
    text: Path | None = None,
    layout: str | None = None,
    min_frames: int | None = None,
    settings: Sequence[str] = (),
    config: Path | None = None,
    weights: Mapping[str, str] | None = None,
    offline: bool = False,
    options: Options = Options(),
    eval_every: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    compute: Compute | None = None,
    progress: Progress = SILENT,
) -> TrainResult:
    """Train and return where the model is. Under torchrun every process calls it alike, and all return the same.

    features: feature files, features.h5 when there are none; for a method that has an encoder of its own also folders
    of frames, see frame_sets.py, or with `layout` a data set's folder. method: geoclip when None, or that of `start`.
    out: a folder, models/<method> when None. start: a model folder whose weights and settings a run starts with.
    gallery: places to validate on, and to be localized on later; gallery.h5 when None and there, else the training
    positions; of a method that knows classes, see class_places.py. tiles, rankings: of a method that learns tiles, what
    clips are paired with and what was predicted for them, see train_aerial.py. val: held-out feature files; else the
    label column "split", else `val_fraction` of the clips (0: none). clips: a list of those to train on, see
    clip_list.py; what is held out is not touched by it. at: "own" positions, or those of clips' cities, see centres.py.
    labels, scenes, text, layout, min_frames: what a method that knows classes learns from, see class_data.py. settings,
    config: of the method, see methods/settings.py. weights: {method: path} of weights to start from, see train_start.py
    and backbones.py. resume: go on in `out` as if never stopped.
    Raises UsageError, SettingError, InputError, FormatError, MissingModelError, OutputError, BusyError, DiskError.
    """
    with joined(compute or choose()) as here:
        source = None if start is None else read_start(start, method)
        name = source.method if source else method or "geoclip"
        cls = _trainable(name)
        if val and val_fraction is not None:
            raise UsageError("--val names what is held out, --val-fraction draws it: give one of them")
        folder = _target(out or Path("models") / name, start)
        check_folder(folder, overwrite, resume)
        _check_able(here, options)
        seed_everything(options.seed)
        asked = Request(
            name=name, cls=cls, inputs=features or _default_inputs(cls), changed=given(cls.Config, config, settings),
            options=options, compute=here, folder=folder, source=source, gallery=gallery, tiles=tiles,
            rankings=rankings, val=val, val_fraction=val_fraction,
            listed=None if clips is None else read_clip_list(clips), at=at, weights=weights, offline=offline,
            labels=labels, scenes=scenes, text=text, layout=layout, min_frames=min_frames, resume=resume,
            progress=progress,
        )  # fmt: skip
        ready = _prepared(asked)
        with closing(ready), nullcontext() if rank() else locked(folder):
            run = Run(
                loop=Loop(ready.model, ready.store, options, here, SILENT if rank() else progress),
                folder=RunFolder(folder, _saver(name, ready), ready.gallery),
                validate=None if rank() else ready.validate,
                settings=_identity(asked, ready),
                eval_every=eval_every,
            )
            if resume:
                run.resume()
            check_same(run.settings, here.device)
            _announce(asked, ready)
            run.train()
            return _result(run, folder, here)


def _prepared(asked: Request) -> Prepared:
    if issubclass(asked.cls, Classifier):
        return prepare_classes(asked)
    prepare = {"tiles": prepare_pairs, "regions": prepare_sequences}.get(asked.cls.gallery_kind, prepare_search)
    return prepare(asked)


def _default_inputs(cls: type[Method]) -> Sequence[Path]:
    """features.h5; frames/ where there is none and the method can see for itself, or where it takes nothing else."""
    if cls.gallery_kind in PICTURED:
        return [DEFAULT_FRAMES]
    if cls.needs == "frames" and not DEFAULT_FEATURES.exists() and DEFAULT_FRAMES.is_dir():
        return [DEFAULT_FRAMES]
    return [DEFAULT_FEATURES]


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


def _check_able(compute: Compute, options: Options) -> None:
    """Raise SettingError where the device cannot do what is asked."""
    if compute.device.type == "mps":
        raise SettingError("training computes distances in float64, which mps does not have; use --device cpu")
    if options.compile:
        check_compiler()


def _identity(asked: Request, ready: Prepared) -> dict[str, Any]:
    """What must be the same for a resumed run to go on as if it had never stopped."""
    options, parts = asked.options, ready.parts
    return {
        "method": asked.name,
        "settings": to_dict(ready.model.config),
        "starts from": asked.source and asked.source.hash,
        "phase": options.phase,
        "encoders": {
            name: {"weights": s.weights_hash, "preprocessing": s.preprocessing} for name, s in ready.encoders.items()
        },
        "batch size": options.batch_size,
        "accumulate": options.accumulate,
        "seed": options.seed,
        "precision": "bf16" if asked.compute.mixed else "fp32",
        "compiled": options.compile,
        "processes": world_size(),  # rounding and dropout differ
        "training data": digest(parts.train),
        "held-out data": parts.val and digest(parts.val),
        "gallery": ready.gallery.digest,
        **ready.facts,
    }


def _announce(asked: Request, ready: Prepared) -> None:
    """Say what is about to be trained, on what, with which settings, and what of it is odd."""
    model, options, parts = ready.model, asked.options, ready.parts
    announce(asked.compute)
    if world_size() > 1:
        log.info("%d processes share each batch", world_size())
    phases = [phase for phase in model.phases if options.phase in (None, phase)]
    weights = {id(p): p.numel() for phase in phases for p in model.trainable(phase)}
    config = model.config
    changed = {k: v for k, v in to_dict(config).items() if v != to_dict(type(config)()).get(k)}
    said = " ".join(f"{key}={format_value(value)}" for key, value in changed.items()) or "as published"
    log.info("%s, %.2f M weights to train; settings: %s", asked.name, sum(weights.values()) / 1e6, said)
    log.debug("all settings: %s", " ".join(f"{key}={format_value(v)}" for key, v in to_dict(config).items()))
    held = (
        f"{len(parts.val)} {ready.noun} of {len(parts.val.video_ids)} held out ({parts.how})"
        if parts.val
        else "none held out"
    )
    videos = len(parts.train.video_ids)
    log.info("%d %s of %d clips; %s; %s", len(parts.train), ready.noun, videos, held, ready.places)
    for caution in cautions(model, phases, options, parts.train, ready.off_km):
        log.warning(caution)


def _result(run: Run, folder: Path, compute: Compute) -> TrainResult:
    """What came of it; the first process knows, and the others wait for it."""
    epochs, best_epoch, median, right = 0.0, 0.0, math.nan, math.nan
    if run.kept is not None:
        best = run.kept.best
        epochs, best_epoch = len(run.kept.metrics), best.epoch
        measured = best.validation or {}
        median = measured.get("median_error_km", math.nan)
        right = next(iter(measured.get("accuracy", {}).values()), math.nan)
        phase = run.loop.method.phases[best.phase]
        said = f", {short(best.validation)}" if best.validation else ""
        log.info("%s: best model of %s epoch %d%s; the last one is in last/", folder, phase, best_epoch, said)
        for name, ended in _ended(run, phase).items():
            if best.validation and rank_of(ended) < rank_of(best.validation):
                log.warning("%s had ended at %s: --phase %s trains it alone", name, short(ended), name)
    epochs, best_epoch, median, right = agreed([epochs, best_epoch, median, right], compute.device)
    return TrainResult(
        folder=folder,
        epochs=int(epochs),
        best_epoch=int(best_epoch),
        median_error_km=None if math.isnan(median) else median,
        right=None if math.isnan(right) else right,
    )


def _ended(run: Run, phase: str) -> dict[str, Validated]:
    """The last validations of the phases before the one that the best model is of."""
    measured = [line for line in run.kept.metrics if line.get("validation")] if run.kept else []
    return {line["phase"]: line["validation"] for line in measured if line["phase"] != phase}


def _saver(method: str, ready: Prepared) -> Any:
    config, known = to_dict(ready.model.config), {} if ready.rate_hz is None else {"rate_hz": ready.rate_hz}

    def save(folder: Path, weights: Any, about: dict[str, Any], more: Any) -> None:
        extra = about | known
        save_model(
            folder, method=method, config=config, encoders=ready.encoders, state=weights, extra=extra, write_more=more
        )

    return save
