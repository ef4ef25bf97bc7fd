"""Galleries of city centres: all cities of GeoNames, or exactly those that a table or a feature file names.

Every row carries the four levels of CityGuessr's hierarchy, so that what `vgeo localize` finds among them is a city
with its state, country and continent (VidTAG, section 5.3).
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vgeo.errors import FormatError, InputError
from vgeo.formats.gallery import Gallery
from vgeo.formats.place_labels import LabelledClip, read_place_labels
from vgeo.formats.streams import is_stdio
from vgeo.geo import places
from vgeo.geo.city_search import Wanted, find_cities
from vgeo.geo.names import country_key, fold
from vgeo.geo.sphere import wrap_lon
from vgeo.records import LEVELS, PlaceLabels
from vgeo.stages.gallery_inputs import Source

log = logging.getLogger(__name__)

_MOST_SAID = 20  # cities that are not found, one by one

_SOURCE = "GeoNames, CC BY 4.0"


def all_cities(min_population: int = 15000, countries: Sequence[str] = ()) -> Gallery:
    """Take the cities of GeoNames, with city, state, country, continent and population as labels.

    Raises UsageError for an unknown country, InputError where no city is large enough.
    """
    table = places.load_cities(min_population, countries)
    if not len(table):
        where = f" in {', '.join(countries)}" if countries else ""
        raise InputError(f"no city of {min_population:,} people{where}; lower --min-population")
    columns = ("city", "state", "country", "country_code", "continent")
    labels = {name: getattr(table, name) for name in columns}
    labels["state"] = np.array([_state(state) for state in table.state], object)
    labels["population"] = np.array([str(count) for count in table.population], object)
    made = {"kind": "cities", "min_population": min_population, "source": _SOURCE}
    return Gallery(latlon_deg=table.latlon_deg, labels=labels, attributes=made)


def named_cities(inputs: Sequence[Source], min_population: int = 15000) -> Gallery:
    """Take the cities that the inputs name, each once, at its own lat,lon where given, else at its GeoNames centre.

    Labels are spelled as the inputs spell them first; levels that they leave out are GeoNames' for cities found there.
    Every city that is unknown, or ambiguous (see geo/city_search.py), is said in a line of its own.
    Raises FormatError then, or where a city is given two positions; InputError.
    """
    if sum(is_stdio(source) for source in inputs) > 1:
        raise InputError("-: stdin can be read once; give it once")
    return cities_of([row for source in inputs for row in read_place_labels(source)], min_population)


def cities_of(rows: Sequence[LabelledClip], min_population: int = 15000) -> Gallery:
    """`named_cities` of labels that were read before."""
    named = _distinct(rows)
    given = [row for row in named if row.latlon_deg is not None]
    found = _looked_up([row.labels for row in named if row.latlon_deg is None], min_population)
    own = f", {len(given)} at their own lat,lon" if given else ""
    log.info("%d cities named by %d rows%s", len(given) + len(found), len(rows), own)
    cities = [(row.labels, row.latlon_deg) for row in given] + found
    return Gallery(
        latlon_deg=np.array([at for _, at in cities], np.float64),
        labels={level: np.array([getattr(labels, level) for labels, _ in cities], object) for level in LEVELS},
        attributes={"kind": "cities", "min_population": min_population, "source": _SOURCE, "from": "inputs"},
    )


def _looked_up(named: Sequence[PlaceLabels], min_population: int) -> list[tuple[PlaceLabels, tuple[float, float]]]:
    """Labels and positions of cities of GeoNames; one that goes by several names, or by more and less of one, once."""
    if not named:
        return []
    table = places.load_cities(min_population)
    found = find_cities([wanted(labels) for labels in named], table, min_population)
    problems = [one.problem for one in found if one.problem]
    for problem in problems[:_MOST_SAID]:
        log.error("%s", problem)
    if len(problems) > _MOST_SAID:
        log.error("and %d more", len(problems) - _MOST_SAID)
    if problems:
        raise FormatError(f"{len(problems)} of {len(named)} cities have no certain position; nothing is written")
    cities: dict[int, PlaceLabels] = {}
    for labels, one in zip(named, found, strict=True):
        assert one.row is not None
        first = cities.setdefault(one.row, labels)
        if fold(first.city) != fold(labels.city):
            log.warning("%s is %s under another name; it is labelled as the first", wanted(labels), wanted(first))
        cities[one.row] = _completed(first, labels)
    return [
        (_completed(labels, _of_table(table, row)), (float(table.latlon_deg[row, 0]), float(table.latlon_deg[row, 1])))
        for row, labels in cities.items()
    ]


def _distinct(rows: Sequence[LabelledClip]) -> list[LabelledClip]:
    """The first row of each city; its position is what any of the city's rows gives. Raises FormatError for two."""
    first: dict[tuple[str, ...], LabelledClip] = {}
    for row in rows:
        said = row.labels
        key = (fold(said.city) or said.city, fold(said.state), country_key(said.country), fold(said.continent))
        before = first.setdefault(key, row)
        if row.latlon_deg is None or before.latlon_deg == row.latlon_deg:
            continue
        if before.latlon_deg is not None and _wrapped(before.latlon_deg) != _wrapped(row.latlon_deg):
            raise FormatError(
                f"{wanted(said)}: lies at {before.latlon_deg} and at {row.latlon_deg}; give each city one lat,lon, "
                "or leave them out"
            )
        first[key] = replace(before, latlon_deg=row.latlon_deg)
    return list(first.values())


def _wrapped(latlon_deg: tuple[float, float]) -> tuple[float, float]:
    return latlon_deg[0], float(wrap_lon(latlon_deg[1]))


def wanted(labels: PlaceLabels) -> Wanted:
    return Wanted(city=labels.city, state=labels.state, country=labels.country, continent=labels.continent)


def _completed(labels: PlaceLabels, more: PlaceLabels) -> PlaceLabels:
    """Labels, and what others know besides."""
    return PlaceLabels(**{level: getattr(labels, level) or getattr(more, level) for level in LEVELS})


def _state(name: str) -> str:
    """A state that has only a code, such as VN.79, stays unknown."""
    return "" if name[2:3] == "." else name


def _of_table(table: places.Cities, row: int) -> PlaceLabels:
    """GeoNames' labels."""
    return PlaceLabels(
        city=table.city[row],
        state=_state(table.state[row]),
        country=table.country[row],
        continent=table.continent[row],
    )
