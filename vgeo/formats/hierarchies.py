"""Files that say which city is in which state, country and continent: a table of names, or CityGuessr's mapping."""

import os

from vgeo.errors import FormatError
from vgeo.formats.place_labels import read_place_labels
from vgeo.formats.streams import parse_json, read_text
from vgeo.geo.hierarchy import Hierarchy, Up, number_places, parse_mapping
from vgeo.records import LEVELS


def read_names(path: str | os.PathLike[str]) -> Hierarchy:
    """Read a table of cities (city, state, country, continent; levels may be missing), numbered as published.

    Raises InputError, FormatError.
    """
    rows = read_place_labels(path)
    try:
        return number_places((row.labels.from_level(0) for row in rows), LEVELS)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def read_mapping(path: str | os.PathLike[str]) -> Up:
    """Read hierarchy_mappings.json as CityGuessr publishes it. Raises InputError, FormatError."""
    value = parse_json(read_text(path), path)
    try:
        return parse_mapping(value, LEVELS)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
