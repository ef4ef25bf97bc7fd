"""What a run of a Classifier needs before it begins: labels, classes, scenes, text, and frames or features.

Given feature files, the heads learn over frozen features; given frames, the method's own backbone is trained with them.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vgeo.datasets.base import Recipe
from vgeo.encoders._windows import rows_are_windows
from vgeo.encoders.base import EncoderSpec
from vgeo.errors import FormatError, InputError, SettingError, UsageError
from vgeo.formats.checkpoints import ModelFiles, read_model
from vgeo.formats.cityguessr_list import first_line, is_list, read_values
from vgeo.formats.features import FeatureFile
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.formats.place_labels import LabelledClip, read_place_labels
from vgeo.formats.scenes import GROUPS, read_scenes
from vgeo.formats.streams import is_stdio
from vgeo.geo.hierarchy import Ids
from vgeo.methods.base import Classifier
from vgeo.methods.settings import from_dict
from vgeo.stages.backbones import ReleasedBackbone, released_backbone
from vgeo.stages.city_text import text_targets
from vgeo.stages.class_places import Classes, classes_of, find_classes
from vgeo.stages.clip_labels import join_ids, label_columns
from vgeo.stages.frame_sets import open_frames
from vgeo.stages.train_inputs import DEFAULT_GALLERY, fitting_settings
from vgeo.stages.train_prepare import Prepared, Request
from vgeo.stages.train_start import check_features, check_phase, load_start
from vgeo.training.data import ClipFile, Frames, Usable, check_encoders, clip_numbers, split
from vgeo.training.evaluate_classes import ClassValidation, validate_classes
from vgeo.training.frame_set import FrameSet
from vgeo.training.frame_store import FrameStore
from vgeo.training.store import FeatureStore
from vgeo.training.truth import ClipTruth

log = logging.getLogger(__name__)

DEFAULT_LABELS = Path("clips") / "clips.csv"  # as 'vgeo demo' writes it
SCENES_FILE = "scenes.csv"
_SEEN = 20_000  # rows
_SHAPE = ("frames", "image_px", "patch_px", "tubelet", "width", "layers", "heads", "mlp")

Store = FeatureStore | FrameStore


@dataclass(frozen=True, slots=True)
class _Data:
    """Files of one kind, feature files or sets of pictures: those to learn from, then those of --val."""

    files: tuple[ClipFile, ...]
    val_files: tuple[ClipFile, ...]
    classes: Classes
    class_VL: Ids  # of the clips of all files end to end
    scene_VP: NDArray[np.float32] | None
    text_GX: NDArray[np.float32] | None

    @property
    def of_features(self) -> bool:
        return isinstance(self.files[0], FeatureFile)

    def truth(self, frames: Frames, files: Sequence[ClipFile]) -> ClipTruth:
        """The labels of the clips of some frames."""
        offset = 0 if files[0] is self.files[0] else sum(len(file.video_ids) for file in self.files)
        number_V = clip_numbers(frames, files) + offset
        return ClipTruth(self.class_VL[number_V], None if self.scene_VP is None else self.scene_VP[number_V])


def prepare_classes(asked: Request) -> Prepared:
    """Read what there is and build the model over it. Raises what `train` does."""
    if asked.at != "own":
        raise UsageError(f"--at {asked.at}: {asked.name} learns cities as they are labelled; leave it out")
    files, val_files = _open(asked, asked.inputs), _open(asked, asked.val)
    if val_files and isinstance(files[0], FeatureFile) != isinstance(val_files[0], FeatureFile):
        kind = "feature files" if isinstance(files[0], FeatureFile) else "a folder of frames"
        raise UsageError(f"--val {asked.val[0]}: give {kind}, as what is trained on")
    classes, class_of = find_classes([*files, *val_files], _cities(asked.gallery), _table(asked))
    values = (asked.source.config if asked.source else {}) | asked.changed
    scene_VP = _scenes(asked, [*files, *val_files], values)
    text_GX = _text(asked, [*files, *val_files], classes, class_of, values)
    data = _Data(tuple(files), tuple(val_files), classes, np.concatenate(class_of), scene_VP, text_GX)
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
    model.adopt(up, None if text_GX is None else torch.from_numpy(text_GX))
    usable = _usable([*files, *val_files], class_of)
    parts = split(files, val_files, asked.val_fraction, asked.options.seed, asked.listed, usable)
    train_truth = data.truth(parts.train, data.files)
    _say_unlearnt(classes, train_truth)
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
        facts={
            "classes": classes.digest,
            "labels": train_truth.digest,
            "text": None if text_GX is None else ClipTruth(np.zeros((0, 0), np.int64), text_GX).digest,
        },
    )


def _open(asked: Request, paths: Sequence[Path]) -> list[ClipFile]:
    """Feature files, or all folders of frames as one set; labelled by --labels, or clips/clips.csv where nothing is."""
    if not paths:
        return []
    of_features = [path.suffix.lower() in (".h5", ".hdf5") for path in paths]
    if any(of_features) != all(of_features):
        raise UsageError(f"{paths[of_features.index(False)]}: give feature files or folders of frames, not both")
    labels = asked.labels
    if not of_features[0]:
        recipe = Recipe(min_frames=asked.min_frames, seed=asked.options.seed)
        found = open_frames(paths, asked.layout, recipe, labels, asked.progress)
        return [_labelled_by_default(found)] if labels is None and not _has_city(found) else [found]
    if asked.layout is not None or asked.min_frames is not None:
        raise UsageError("--layout: is for a data set's folder, not for feature files, which know what they came from")
    files = [FeatureFile.open(path) for path in paths]
    if labels is not None:
        return [replace(file, labels=label_columns(file.video_ids, file.labels, labels)) for file in files]
    return [file if _has_city(file) else _labelled_by_default(file) for file in files]


def _has_city(file: ClipFile) -> bool:
    return any(file.labels.get("city", ()))


def _labelled_by_default(file: Any) -> Any:
    if not DEFAULT_LABELS.is_file():
        return file
    log.info("cities of the clips from %s", DEFAULT_LABELS)
    return replace(file, labels=label_columns(file.video_ids, file.labels, DEFAULT_LABELS))


def _cities(path: Path | None) -> Gallery | None:
    """The given gallery of cities, or the one that lies here if it is one."""
    found = read_gallery(path or DEFAULT_GALLERY) if path or DEFAULT_GALLERY.exists() else None
    if found is not None and "city" in found.labels:
        log.info("cities of gallery %s", path or DEFAULT_GALLERY)
        return found
    if path is not None:
        raise InputError(f"{path}: names no cities; make a gallery of them with 'vgeo build-gallery cities'")
    return None


def _table(asked: Request) -> list[LabelledClip]:
    """The rows of --labels, which may say where cities are; a list of ids does not, and stdin was read already."""
    if asked.labels is None or is_stdio(asked.labels) or asked.labels.is_dir() or _is_list(asked.labels):
        return []
    return read_place_labels(asked.labels)


def _scenes(asked: Request, files: Sequence[ClipFile], values: dict[str, Any]) -> NDArray[np.float32] | None:
    """Shares of scenes [V, P] of all clips, zeros where unknown; None where the method is to learn none."""
    if values.get("scenes") == "none":
        return None
    beside = [*(file.path / SCENES_FILE for file in files), Path("frames") / SCENES_FILE, Path(SCENES_FILE)]
    path = asked.scenes or next((found for found in beside if found.is_file()), None)
    if path is None:
        if "scenes" in values and not asked.source:
            raise InputError(
                f"--set scenes={values['scenes']}: no {SCENES_FILE} here; make it with 'vgeo label-scenes'"
            )
        log.info("no %s here ('vgeo label-scenes' makes it): trained without scenes", SCENES_FILE)
        values["scenes"] = "none"
        return None
    shares = read_values(path).scenes_by_clip() if _is_list(path) else read_scenes(path)
    log.info("scenes of %s", path)
    return _joined(shares, files, path, len(GROUPS))


def _text(
    asked: Request, files: Sequence[ClipFile], classes: Classes, class_of: Sequence[Ids], values: dict[str, Any]
) -> NDArray[np.float32] | None:
    """A vector for each class of the finest level [G, X]; None where the method is to learn none."""
    how = values.get("text", "all")
    if how == "none":
        return None
    if asked.text is not None:
        found = _listed_text(asked.text, files, class_of, classes)
    elif "city" in classes.gallery.text:
        found = text_targets(classes.gallery, how)
    elif "text" in values and not asked.source:
        raise InputError(
            f"--set text={how}: the gallery has no text of its cities; make one with 'vgeo build-gallery cities TABLE "
            "--text clip', or name a published list with --text"
        )
    else:
        log.info("no text of the cities' names ('vgeo build-gallery cities TABLE --text clip'): trained without it")
        values["text"] = "none"
        return None
    values["text_dim"] = found.shape[1]
    return found


def _listed_text(
    path: Path, files: Sequence[ClipFile], class_of: Sequence[Ids], classes: Classes
) -> NDArray[np.float32]:
    """The text of a published list by class: that of any of the class's clips."""
    if not _is_list(path):
        raise FormatError(f"{path}: not a published list, whose lines have 512 values of text")
    said = read_values(path).text_by_clip()
    vectors = _joined(said, files, path, len(next(iter(said.values()))))
    city_V = np.concatenate(class_of)[:, 0]
    found = np.zeros((classes.counts[0], vectors.shape[1]), np.float32)
    known_V = vectors.any(axis=1) & (city_V >= 0)
    found[city_V[known_V]] = vectors[known_V]
    if not (there := found.any(axis=1)).all():
        first = classes.hierarchy.names[0][int(np.argmin(there))]
        raise FormatError(f"{path}: has no text of {int((~there).sum())} cities, {first} first")
    return found


def _joined(
    said: Mapping[str, NDArray[np.float32]], files: Sequence[ClipFile], path: Path, width: int
) -> NDArray[np.float32]:
    """Values of the clips of all files end to end [V, width], zeros for those that are not in the file."""
    ids = [video for file in files for video in file.video_ids]
    pairs = dict(join_ids(ids, list(said)))
    if not pairs:
        raise InputError(f"{path}: names none of the clips ({ids[0]} first), but {next(iter(said))} first")
    zeros = np.zeros(width, np.float32)
    return np.stack([said[pairs[video]] if video in pairs else zeros for video in ids])


def _is_list(path: Path) -> bool:
    return is_list(first_line(path))


def _model(
    asked: Request, data: _Data, values: dict[str, Any]
) -> tuple[Any, dict[str, EncoderSpec], ReleasedBackbone | None]:
    """The model as drawn, the features it reads, and the weights that its backbone is to start from."""
    default = asked.cls.Config().backbone
    backbone = values.get("backbone", default)
    values["classes"] = data.classes.counts
    if data.of_features:
        return *_over_features(asked, data, values), None
    if backbone == "features":
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


def _over_features(asked: Request, data: _Data, values: dict[str, Any]) -> tuple[Any, dict[str, EncoderSpec]]:
    """The heads alone over frozen features."""
    files = [file for file in (*data.files, *data.val_files) if isinstance(file, FeatureFile)]
    if values.setdefault("backbone", "features") != "features":
        raise SettingError(
            f"--set backbone={values['backbone']}: is trained on frames; name their folder, not features"
        )
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


def _usable(files: Sequence[ClipFile], class_of: Sequence[Ids]) -> Usable:
    """Rows of clips whose city is a class."""
    known = {id(file): ids[:, 0] >= 0 for file, ids in zip(files, class_of, strict=True)}

    def of(file: ClipFile) -> NDArray[np.bool_]:
        return np.repeat(known[id(file)], np.diff(file.first_row))

    return Usable(of, "has a city", "name a table of clips' cities with --labels")


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


def _store(
    asked: Request, model: Classifier, frames: Frames, files: Sequence[ClipFile], truth: ClipTruth | None
) -> Store:
    if model.frame_size is None:
        features = [file for file in files if isinstance(file, FeatureFile)]
        return FeatureStore(features, frames, model.encoders, asked.compute, truth=truth)
    sets = [file for file in files if isinstance(file, FrameSet)]
    return FrameStore(sets, frames, model.frame_size, asked.compute, truth)


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
