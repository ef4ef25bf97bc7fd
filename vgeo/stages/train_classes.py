"""What a run of a Classifier needs before it begins: its data, and the model over frames or features.

Given feature files, the heads learn over frozen features; given frames, the method's own backbone is trained with them.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgeo.encoders._windows import rows_are_windows
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import SettingError, UsageError
from vgeo.formats.checkpoints import ModelFiles, read_model
from vgeo.formats.features import FeatureFile
from vgeo.formats.gallery import read_gallery
from vgeo.methods.base import Classifier
from vgeo.methods.settings import from_dict
from vgeo.stages.backbones import ReleasedBackbone, released_backbone
from vgeo.stages.class_data import ClassData, read_class_data
from vgeo.stages.class_places import Classes, classes_of
from vgeo.stages.long_videos import SOURCE
from vgeo.stages.train_inputs import fitting_settings
from vgeo.stages.train_prepare import Prepared, Request, check_no_tiles
from vgeo.stages.train_start import check_features, check_phase, load_start
from vgeo.training.data import ClipFile, Frames, Split, check_encoders, split
from vgeo.training.evaluate_classes import ClassValidation, validate_classes
from vgeo.training.frame_set import FrameSet
from vgeo.training.frame_store import FrameStore
from vgeo.training.store import FeatureStore
from vgeo.training.truth import ClipTruth, digest_of

log = logging.getLogger(__name__)

_SEEN = 20_000  # rows
_SHAPE = ("frames", "image_px", "patch_px", "tubelet", "width", "layers", "heads", "mlp")

Store = FeatureStore | FrameStore


def prepare_classes(asked: Request) -> Prepared:
    """Read what there is and build the model over it. Raises what `train` does."""
    if asked.at != "own":
        raise UsageError(f"--at {asked.at}: {asked.name} learns cities as they are labelled; leave it out")
    check_no_tiles(asked)
    values = (asked.source.config if asked.source else {}) | asked.changed
    data = read_class_data(asked, values)
    classes = data.classes
    model, encoders, released = _model(asked, data, values)
    check_phase(model, asked.name, asked.options.phase, asked.source)
    if not asked.resume:
        if asked.source is not None:
            load_start(model, asked.name, asked.source, None, _learnt_anew(model, asked.source, classes))
        elif released is not None:
            assert model.backbone is not None
            model.backbone.load_state_dict(released.tensors)
            log.info("backbone %s of %s", released.family, released.weights)
    model.to(asked.compute.device)
    up = tuple(torch.from_numpy(step) for step in classes.hierarchy.up)
    model.adopt(up, None if data.text_GX is None else torch.from_numpy(data.text_GX))
    parts = split(data.files, data.val_files, asked.val_fraction, asked.options.seed, asked.listed, data.usable)
    train_truth = data.truth(parts.train, data.files)
    _say_unlearnt(classes, train_truth)
    _say_torn(data, parts)
    store = _store(asked, model, parts.train, data.files, train_truth)
    if isinstance(store, FeatureStore) and not asked.resume and asked.source is None:
        model.see(_some_rows(store, model.encoders[0]))
    val_store = val_truth = None
    if parts.val is not None:
        val_truth = data.truth(parts.val, parts.val_files)
        val_store = _store(asked, model, parts.val, parts.val_files, None)

    def measure(_: str) -> ClassValidation:
        assert val_store is not None and val_truth is not None
        return validate_classes(model, val_store, val_truth.class_VL, classes.hierarchy.levels, asked.compute)

    counted = ", ".join(
        f"{count} {_plural(level, count)}"
        for level, count in zip(classes.hierarchy.levels, classes.counts, strict=True)
    )
    return Prepared(
        model=model,
        encoders=encoders,
        parts=parts,
        gallery=classes.gallery,
        store=store,
        val_store=val_store,
        validate=None if parts.val is None else measure,
        places=counted,
        rate_hz=data.rate_hz if model.windows.length > 1 else None,
        facts={
            "classes": classes.digest,
            "labels": train_truth.digest,
            "text vectors": None if data.text_GX is None else digest_of(data.text_GX),
        },
    )


def _model(
    asked: Request, data: ClassData, values: dict[str, Any]
) -> tuple[Any, dict[str, EncoderSpec], ReleasedBackbone | None]:
    """The model as drawn, the features it reads, and the weights that its backbone is to start from."""
    default = asked.cls.Config().backbone
    backbone = values.get("backbone", default)
    values["classes"] = data.classes.counts
    if data.of_features:
        return *_over_features(asked, data, values), None
    if backbone == "features":
        if "backbone" not in asked.changed and asked.source is not None:
            raise UsageError(f"--from {asked.source.folder}: knows features alone; name a feature file, not frames")
        raise SettingError("--set backbone=features: is for feature files; for frames leave it out")
    released = None
    if asked.weights and (asked.source or values.get("init") == "scratch"):
        raise UsageError("--weights: are not used with --from or init=scratch; leave one of them out")
    if asked.resume or asked.source:
        stored = asked.source.config if asked.source else _stored_config(asked.folder)
        values |= {key: stored[key] for key in _SHAPE if key in stored and key not in asked.changed}
    elif values.get("init", asked.cls.Config().init) == "released":
        released = released_backbone(
            backbone, values.get("repository", ""), (asked.weights or {}).get(asked.name),
            frames=asked.changed.get("frames"), offline=asked.offline,
        )  # fmt: skip
        values |= {key: getattr(released.shape, key) for key in _SHAPE}
    return _built(asked, values), {}, released


def _over_features(asked: Request, data: ClassData, values: dict[str, Any]) -> tuple[Any, dict[str, EncoderSpec]]:
    """The heads alone over frozen features."""
    files = [file for file in (*data.files, *data.val_files) if isinstance(file, FeatureFile)]
    if values.setdefault("backbone", "features") != "features":
        theirs = asked.source if "backbone" not in asked.changed else None
        said = f"--from {theirs.folder}" if theirs else f"--set backbone={values['backbone']}"
        raise SettingError(f"{said}: is trained on frames; name their folder, not features")
    if asked.weights:
        raise UsageError("--weights: are of a backbone, and features come without one; leave them out")
    if asked.source is None:
        values.setdefault("init", "scratch")
        log.info("the features' encoder stays as it is; the paper trains it with the rest: 'vgeo train frames/'")
    config = fitting_settings(asked.cls, values, files[0], asked.name)
    check_encoders(files, [config.encoder], asked.name)
    spec = files[0].encoders[config.encoder]
    if "rows" not in values:
        values["rows"] = 1 if rows_are_windows(spec) else config.frames
    encoders = {config.encoder: spec}
    if asked.source:
        check_features(asked.source, encoders)
    return _built(asked, {**values, "encoder": config.encoder, "feature_dim": spec.dim}), encoders


def _built(asked: Request, values: dict[str, Any]) -> Any:
    config: Any = from_dict(asked.cls.Config, values)
    try:
        return asked.cls(config)
    except ValueError as error:
        raise SettingError(f"settings of {asked.name}: {error}") from error


def _stored_config(folder: Path) -> Mapping[str, Any]:
    return read_model(folder).config


def _say_unlearnt(classes: Classes, truth: ClipTruth) -> None:
    """Say what clips to train on lack: cities that none is of, others than one, scenes."""
    counts, names = classes.counts, classes.hierarchy.names[0]
    if counts[0] == 1:
        log.warning("all clips are of %s: there is nothing to tell apart, and it will be the answer to all", names[0])
    missing = np.setdiff1d(np.arange(counts[0]), truth.class_VL[:, 0])
    if len(missing):
        log.warning(
            "%d of %d cities have no clip to train on, %s first: they cannot be learnt",
            len(missing), counts[0], names[int(missing[0])],
        )  # fmt: skip
    if truth.scene_VP is not None and (unknown := int((truth.scene_VP.sum(1) == 0).sum())):
        log.warning("the scenes of %d of %d clips to train on are not known", unknown, len(truth.scene_VP))


def _say_torn(data: ClassData, parts: Split) -> None:
    """Say when clips cut from one long video are both trained on and held out."""
    source = {
        video: said
        for file in (*data.files, *data.val_files)
        for video, said in zip(file.video_ids, file.labels.get(SOURCE, ()), strict=False)
        if said
    }
    held_out = () if parts.val is None else parts.val.video_ids
    both = {source.get(video) for video in parts.train.video_ids} & {source.get(video) for video in held_out} - {None}
    if both:
        log.warning(
            "clips of %d long videos are both trained on and held out, as in the paper, and are alike; to hold out "
            "whole videos, name their split in the --labels of extract-frames",
            len(both),
        )


def _store(
    asked: Request, model: Classifier, frames: Frames, files: Sequence[ClipFile], truth: ClipTruth | None
) -> Store:
    if model.frame_shape is None:
        features = [file for file in files if isinstance(file, FeatureFile)]
        return FeatureStore(features, frames, model.encoders, asked.compute, truth=truth)
    sets = [file for file in files if isinstance(file, FrameSet)]
    return FrameStore(sets, frames, model.frame_shape, asked.compute, truth)


def _learnt_anew(model: Classifier, source: ModelFiles, classes: Classes) -> list[str]:
    """Modules that the model to start from cannot give: those of other losses, of other places all but its eyes."""
    own, theirs = ({name.partition(".")[0] for name in state} for state in (model.state_dict(), source.state))
    known = (
        None if source.gallery is None else classes_of(read_gallery(source.gallery, nowhere=True), str(source.gallery))
    )
    same_places = known is not None and known.digest == classes.digest
    return sorted((own | theirs) - (own & theirs if same_places else {"backbone", "feature_mean", "feature_std"}))


def _some_rows(store: FeatureStore, encoder: str) -> torch.Tensor:
    """Features [N, D] of rows spread over all that are trained on."""
    rows = torch.linspace(0, len(store.frames) - 1, min(len(store.frames), _SEEN)).long()[:, None]
    return store.batch(rows, rows >= 0).features[encoder][:, 0]


def _plural(level: str, count: int) -> str:
    return level if count == 1 else f"{level[:-1]}ies" if level.endswith("y") else f"{level}s"
