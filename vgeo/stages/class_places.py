"""The classes of a Classifier: the cities that clips are labelled with, and what these lie in.

Shapes: V clips of a file, L levels, C classes of a level, G cities.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import FormatError, InputError
from vgeo.formats.gallery import Gallery
from vgeo.formats.place_labels import LabelledClip
from vgeo.geo import places
from vgeo.geo.city_search import find_cities
from vgeo.geo.hierarchy import Hierarchy, Ids, namesakes, number_places
from vgeo.geo.sphere import centroid
from vgeo.records import LEVELS, PlaceLabels
from vgeo.stages.city_gallery import cities_of, wanted
from vgeo.training.centres import LEVELS as TELLING
from vgeo.training.centres import CityRows
from vgeo.training.data import ClipFile

log = logging.getLogger(__name__)

KIND = "classes"
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Classes, numbered as CityGuessr numbers them."""

    hierarchy: Hierarchy
    gallery: Gallery  # a row for each class of the finest level, in the order of the ids

    @property
    def counts(self) -> tuple[int, ...]:
        """Classes of each level [L]."""
        return tuple(len(names) for names in self.hierarchy.names)

    @property
    def digest(self) -> str:
        """A name for them, to tell on resume whether they are the same."""
        return hashlib.sha256(repr(self.hierarchy.places()).encode()).hexdigest()[:16]


def find_classes(
    files: Sequence[ClipFile], cities: Gallery | None, table: Sequence[LabelledClip] = ()
) -> tuple[Classes, list[Ids]]:
    """Find the classes that the clips of all files are of, and each clip's: [V, L] for each file, -1 where it has none.

    cities: a gallery that says where they are and what they lie in; None: the table, where it gives a city's position,
    else GeoNames, else the clips' own positions. Only cities of clips become classes. Clips that name no city, or none
    of the gallery's, are counted and left out.
    Raises InputError where no clip is left, FormatError for cities that cannot be placed or told apart.
    """
    labels = [_labels(file) for file in files]
    named = {names for some in labels for names in some if names[0]}
    if not named:
        raise InputError(
            "no clip is labelled with its city; name a table of them with --labels, as vgeo precompute-features takes"
        )
    gallery = _placed(named, files, labels, table) if cities is None else cities
    rows = CityRows(gallery)
    row_of = {names: rows.row(names[: len(TELLING)]) for names in named}
    _say_lost(labels, row_of)
    used = sorted({row for row in row_of.values() if row is not None})
    if not used:
        raise InputError(
            f"none of the clips' cities is in the gallery, {min(named)[0]} first; build one of these cities"
        )
    classes, class_of_row = _numbered(gallery, used, named)
    for line in namesakes({_names(gallery, row) for row in used}, LEVELS):
        log.warning("%s", line)
    chains = classes.hierarchy.chains()
    none = np.full(chains.shape[1], -1)
    found = []
    for some in labels:
        ids = [none if (row := row_of.get(names)) is None else chains[class_of_row[row]] for names in some]
        found.append(np.stack(ids) if ids else np.zeros((0, len(none)), np.int64))
    return classes, found


def classes_of(gallery: Gallery, where: str) -> Classes:
    """Read the classes off the gallery that a model keeps. Raises FormatError where it is no such gallery."""
    levels = [level for level in LEVELS if level in gallery.labels]
    rows = list(zip(*(gallery.labels[level].tolist() for level in levels), strict=True))
    if gallery.attributes.get("kind") != KIND or not levels or not rows:
        raise FormatError(f"{where}: is not the gallery of a model's classes; train the model again")
    hierarchy = number_places(rows, levels)
    if hierarchy.places() != rows:
        raise FormatError(f"{where}: its classes are not in the order of their ids; train the model again")
    return Classes(hierarchy, gallery)


def _labels(file: ClipFile) -> list[tuple[str, ...]]:
    """The four names of each clip."""
    columns = [file.labels.get(level, [""] * len(file.video_ids)) for level in LEVELS]
    return list(zip(*columns, strict=True))


def _names(gallery: Gallery, row: int) -> tuple[str, ...]:
    return tuple(str(gallery.labels[level][row]) if level in gallery.labels else "" for level in LEVELS)


def _numbered(gallery: Gallery, used: list[int], said: set[tuple[str, ...]]) -> tuple[Classes, dict[int, int]]:
    """Number some of a gallery's rows; and the class of each of these.

    A level that no clip names, and that is not known of all cities, is left out.
    """
    rows = {row: _names(gallery, row) for row in used}
    levels = []
    for number, level in enumerate(LEVELS):
        unknown = [", ".join(filter(None, names)) for names in rows.values() if not names[number]]
        if not unknown or any(names[number] for names in said):
            levels.append(level)  # some lack what others have: number_places says which
        elif len(unknown) < len(rows):
            log.info("level %s is left out: nobody says which one %s lies in", level, unknown[0])
    kept = {row: tuple(names[LEVELS.index(level)] for level in levels) for row, names in rows.items()}
    hierarchy = number_places(kept.values(), levels)
    class_of = {names: number for number, names in enumerate(hierarchy.places())}
    used_of = {level: LEVELS.index(level) for level in hierarchy.levels}
    ordered: dict[int, int] = {}
    class_of_row = {}
    for row, names in rows.items():
        number = class_of[tuple(names[i] for i in used_of.values())]  # of equal names CityRows finds none
        ordered[number], class_of_row[row] = row, number
    order = [ordered[number] for number in range(len(ordered))]
    taken = gallery.take(np.array(order))
    made = replace(
        taken,
        labels={level: taken.labels[level] for level in hierarchy.levels},
        attributes={**gallery.attributes, "kind": KIND},
        features={},
        encoders={},
        keys={},
    )
    return Classes(hierarchy, made), class_of_row


def _say_lost(labels: Sequence[Sequence[tuple[str, ...]]], row_of: dict[tuple[str, ...], int | None]) -> None:
    lost = Counter(names for some in labels for names in some if row_of.get(names) is None)
    if without := lost.pop(("",) * len(LEVELS), 0):
        log.warning("%d clips are not labelled with a city and take no part", without)
    if lost:
        texts = [f"{', '.join(filter(None, names))} ({count})" for names, count in lost.most_common(_MOST_NAMED)]
        more = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
        log.warning(
            "%d clips mean no city of the gallery, or several, and are left out: %s%s",
            lost.total(),
            ", ".join(texts),
            more,
        )


def _placed(
    named: set[tuple[str, ...]],
    files: Sequence[ClipFile],
    labels: Sequence[Sequence[tuple[str, ...]]],
    table: Sequence[LabelledClip],
) -> Gallery:
    """Place cities by the table, else by GeoNames; those that it does not know for certain by their clips' positions.

    Cities that are ids (a published list without names) lie nowhere.
    """
    said = {row.labels.from_level(0): row.latlon_deg for row in table if row.latlon_deg is not None}
    rows = [
        LabelledClip(
            video_id="", labels=PlaceLabels(**dict(zip(LEVELS, names, strict=True))), latlon_deg=said.get(names)
        )
        for names in sorted(named)
    ]
    if not said and all(row.labels.city.isdecimal() for row in rows):
        log.warning("cities go by their ids, so it is not known where they are: 'vgeo localize' will need their names")
        columns = {level: np.array([getattr(row.labels, level) for row in rows], object) for level in LEVELS}
        return Gallery(latlon_deg=np.full((len(rows), 2), np.nan), labels=columns, attributes={"kind": KIND})
    found = find_cities([wanted(row.labels) for row in rows], places.load_cities())
    own: dict[str, tuple[float, float]] = {}
    for i, (row, one) in enumerate(zip(rows, found, strict=True)):
        if (
            row.latlon_deg is None
            and one.problem
            and (at := _own_centre(row.labels.from_level(0), files, labels)) is not None
        ):
            own[row.labels.city] = at
            rows[i] = replace(row, latlon_deg=at)
    if own:
        log.info("%d cities lie where their clips do, GeoNames does not tell: %s", len(own), ", ".join(list(own)[:5]))
    try:
        return cities_of(rows)
    except FormatError as error:
        raise FormatError(
            f"{error}; 'vgeo build-gallery cities TABLE' takes lat,lon and smaller cities, and --gallery what it makes"
        ) from error


def _own_centre(
    names: tuple[str, ...], files: Sequence[ClipFile], labels: Sequence[Sequence[tuple[str, ...]]]
) -> tuple[float, float] | None:
    """The centroid of all positions of a city's clips; None where none has any."""
    parts: list[NDArray[Any]] = []
    for file, some in zip(files, labels, strict=True):
        for clip in (number for number, said in enumerate(some) if said == names):
            latlon_deg = np.asarray(file.latlon_deg[int(file.first_row[clip]) : int(file.first_row[clip + 1])])
            parts.append(latlon_deg[np.isfinite(latlon_deg).all(axis=1)])
    joined = np.concatenate(parts) if parts else np.zeros((0, 2))
    if not len(joined):
        return None
    lat, lon = centroid(joined)
    return float(lat), float(lon)
