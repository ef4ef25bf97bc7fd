"""What a Classifier learns from: clips with their classes, the scenes they show, and the text of their places' names.

Shapes: V clips of all files, G classes of the finest level, P groups of scenes, X text width.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.datasets.base import Recipe
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.cityguessr_list import first_line, is_list, read_values
from vgeo.formats.features import FeatureFile
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.formats.place_labels import LabelledClip, read_place_labels
from vgeo.formats.scenes import FILE, GROUPS, read_scenes
from vgeo.formats.streams import is_stdio
from vgeo.geo.hierarchy import Ids
from vgeo.stages.city_text import text_targets
from vgeo.stages.class_places import Classes, find_classes
from vgeo.stages.clip_labels import join_ids, label_columns
from vgeo.stages.frame_sets import open_frames
from vgeo.stages.train_inputs import DEFAULT_GALLERY
from vgeo.stages.train_prepare import Request
from vgeo.training.data import ClipFile, Frames, Usable, clip_numbers
from vgeo.training.frame_set import FrameSet
from vgeo.training.truth import ClipTruth

log = logging.getLogger(__name__)

DEFAULT_LABELS = Path("clips") / "clips.csv"  # as 'vgeo demo' writes it


@dataclass(frozen=True, slots=True)
class ClassData:
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

    @property
    def rate_hz(self) -> float | None:
        """How many frames a second the clips have, in the median; None where nobody says."""
        spaced = [spacing for file in self.files if (spacing := _spacing_s(file)) is not None and spacing > 0]
        return None if not spaced else 1 / float(np.median(spaced))

    @property
    def usable(self) -> Usable:
        """Rows of clips whose city is a class."""
        edges = np.cumsum([0, *(len(file.video_ids) for file in (*self.files, *self.val_files))])
        known = {
            id(file): self.class_VL[first:last, 0] >= 0
            for file, first, last in zip((*self.files, *self.val_files), edges, edges[1:], strict=False)
        }

        def of(file: ClipFile) -> NDArray[np.bool_]:
            return np.repeat(known[id(file)], np.diff(file.first_row))

        return Usable(of, "has a city", "name a table of clips' cities with --labels")


def _spacing_s(file: ClipFile) -> float | None:
    """Seconds between the rows of a clip, in the median."""
    if isinstance(file, FrameSet):
        return file.spacing_s
    if not isinstance(file, FeatureFile):
        return None
    within = np.ones(max(0, len(file) - 1), bool)
    within[np.asarray(file.first_row[1:-1]) - 1] = False  # from a clip's last row to the next one's first
    gaps = np.diff(file.time_s)[within]
    return float(np.median(gaps)) if len(gaps) else None


def read_class_data(asked: Request, values: dict[str, Any]) -> ClassData:
    """Read what there is. values: settings; losses whose targets are not there, and were not asked for, are put off.

    Raises what `train` does.
    """
    if asked.labels is not None and is_stdio(asked.labels) and len(asked.inputs) + len(asked.val) > 1:
        raise UsageError("--labels -: stdin is read once, and there are several inputs; give the table as a file")
    files, val_files = _open(asked, asked.inputs), _open(asked, asked.val)
    if val_files and isinstance(files[0], FeatureFile) != isinstance(val_files[0], FeatureFile):
        kind = "feature files" if isinstance(files[0], FeatureFile) else "a folder of frames"
        raise UsageError(f"--val {asked.val[0]}: give {kind}, as what is trained on")
    every = [*files, *val_files]
    classes, class_of = find_classes(every, _cities(asked.gallery), _table(asked))
    scene_VP = _scenes(asked, every, values)
    text_GX = _text(asked, every, classes, class_of, values)
    return ClassData(tuple(files), tuple(val_files), classes, np.concatenate(class_of), scene_VP, text_GX)


def _open(asked: Request, paths: Sequence[Path]) -> list[ClipFile]:
    """Feature files, or all folders of frames as one set; labelled by --labels, or clips/clips.csv where nothing is."""
    if not paths:
        return []
    of_features = [path.suffix.lower() in (".h5", ".hdf5") for path in paths]
    if any(of_features) != all(of_features):
        raise UsageError(f"{paths[of_features.index(False)]}: give feature files or folders of frames, not both")
    if asked.min_frames is not None and asked.layout is None:
        raise UsageError("--min-frames: says how to read a data set; name which with --layout")
    labels = asked.labels
    if not of_features[0]:
        recipe = Recipe(min_frames=asked.min_frames, seed=asked.options.seed)
        found = open_frames(paths, asked.layout, recipe, labels, asked.progress)
        return [_labelled_by_default(found)] if labels is None and not _has_city(found) else [found]
    if asked.layout is not None:
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
    beside = [*(file.path / FILE for file in files), Path("frames") / FILE, Path(FILE)]
    ids = [video for file in files for video in file.video_ids]
    paths = [asked.scenes] if asked.scenes else [found for found in beside if found.is_file()]
    for path in paths:
        shares = _shares(path)
        if asked.scenes or join_ids(ids, list(shares)):
            log.info("scenes of %s", path)
            return _joined(shares, files, path, len(GROUPS))
    if "scenes" in values and not asked.source:
        raise InputError(f"--set scenes={values['scenes']}: no {FILE} of these clips; make it with 'vgeo label-scenes'")
    log.info("no %s of these clips ('vgeo label-scenes' makes it): trained without scenes", FILE)
    values["scenes"] = "none"
    return None


def _shares(path: Path) -> Mapping[str, NDArray[np.float32]]:
    return read_values(path).scenes_by_clip() if _is_list(path) else read_scenes(path)


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
    return not is_stdio(path) and is_list(first_line(path))
