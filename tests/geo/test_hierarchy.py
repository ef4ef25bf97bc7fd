"""Ids of cities, states, countries and continents: by hand, and by a literal walk over random places."""

from typing import Any

import numpy as np
import pytest
from cityguessrmaker import IDS, MAPPING, PLACES, mapping_of

from vgeo.errors import FormatError
from vgeo.geo.hierarchy import difference, first_conflict, namesakes, number_places, parse_mapping, unnamed

LEVELS = ("city", "state", "country", "continent")


def test_ids_by_hand_whatever_the_order_of_the_rows() -> None:
    found = number_places([*reversed(PLACES), PLACES[2]], LEVELS)
    assert found.levels == LEVELS
    assert found.names[0] == ("Accra", "Bruges", "Delhi", "Ghent", "Mumbai", "Paris")
    assert found.names[1] == ("Greater Accra", "Flanders", "Delhi", "Maharashtra", "Île-de-France")
    assert found.names[2:] == (("Ghana", "Belgium", "India", "France"), ("Africa", "Europe", "Asia"))
    assert [tuple(row) for row in found.chains().tolist()] == list(IDS)
    assert found.places() == list(PLACES) and mapping_of(found) == MAPPING


def test_the_start_of_the_published_numbering() -> None:
    """Its first continents are Asia, Africa, Oceania (Abu Dhabi, Accra, Adelaide), and Agra is again in Asia."""
    first = [
        ("Agra", "Uttar Pradesh", "India", "Asia"),
        ("Adelaide", "South Australia", "Australia", "Oceania"),
        ("Abu Dhabi", "Abu Dhabi", "United Arab Emirates", "Asia"),
        ("Accra", "Greater Accra", "Ghana", "Africa"),
    ]
    found = number_places(first, LEVELS)
    assert found.names[3] == ("Asia", "Africa", "Oceania")
    assert found.chains().tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 0]]


def test_numbers_of_random_places_are_those_of_a_literal_walk() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 50, 3000):
        states = [f"s{i}" for i in range(size)]
        country = {state: f"k{rng.integers(1 + size // 5)}" for state in states}
        continent = {name: f"c{rng.integers(6)}" for name in sorted(set(country.values()))}
        rows = []
        for i in range(size):
            state = states[int(rng.integers(size))]
            rows.append((f"city {rng.permutation(size)[0]} {i}", state, country[state], continent[country[state]]))
        found = number_places(rows, LEVELS)
        numbers: list[dict[str, int]] = [{} for _ in LEVELS]
        for row in sorted(rows):
            for seen, name in zip(numbers, row, strict=True):
                seen.setdefault(name, len(seen))
        # Walking cities meets states in the order of their ids, so walking states meets countries in the same order.
        expected = [[numbers[level][row[level]] for level in range(4)] for row in sorted(rows)]
        assert found.chains().tolist() == expected
        assert [len(names) for names in found.names] == [len(seen) for seen in numbers]
        up = parse_mapping(mapping_of(found), LEVELS)
        assert difference(found, up) == "" and unnamed(up, LEVELS).chains().tolist() == expected
        assert first_conflict(np.array(expected), LEVELS, up) is None


def test_cities_of_one_name_and_a_country_on_two_continents() -> None:
    rows = [
        ("Springfield", "Missouri", "United States", "North America"),
        ("Springfield", "Illinois", "United States", "North America"),
        ("Ankara", "Ankara", "Turkey", "Asia"),
        ("Edirne", "Edirne", "Turkey", "Europe"),
    ]
    found = number_places(rows, LEVELS)
    assert found.names[0] == ("Ankara", "Edirne", "Springfield", "Springfield")
    assert found.names[1] == ("Ankara", "Edirne", "Illinois", "Missouri")
    assert found.names[2] == ("Turkey", "Turkey", "United States")
    assert namesakes(rows, LEVELS) == [
        "city Springfield is in Illinois, United States, North America and in Missouri, United States, North America, "
        "and counts as 2",
        "country Turkey is in Asia and in Europe, and counts as 2",
    ]
    assert namesakes(PLACES, LEVELS) == []
    assert namesakes([("A", "", "", ""), ("A", "s", "", "")], LEVELS) == [
        "city A is in nothing that is named and in s, and counts as 2"
    ]


def test_levels_may_be_missing_for_all_but_not_for_some() -> None:
    found = number_places([("b", "", "y", ""), ("a", "", "x", "")], LEVELS)
    assert found.levels == ("city", "country") and mapping_of(found) == [{"0": 0, "1": 1}]
    alone = number_places([("b",), ("a",)], ["city"])
    assert alone.names == (("a", "b"),) and alone.up == () and mapping_of(alone) == []
    with pytest.raises(FormatError, match=r"^Singapore, Singapore, Asia: no state, which other places have; name it"):
        number_places([*PLACES, ("Singapore", "", "Singapore", "Asia")], LEVELS)
    with pytest.raises(FormatError, match="names no places"):
        number_places([("", "", "", "")], LEVELS)


def test_classes_that_no_row_has() -> None:
    found = number_places(PLACES, LEVELS)
    assert found.empty(range(6)) == [] and found.empty([0, 1, 2, 3, 4, 5, 5]) == []
    assert found.empty([1, 2, 4, 5]) == [
        "no video is of 2 of 6 classes of city, 0 (Accra) first",
        "no video is of 1 of 5 classes of state, 0 (Greater Accra) first",
        "no video is of 1 of 4 classes of country, 0 (Ghana) first",
        "no video is of 1 of 3 classes of continent, 0 (Africa) first",
    ]
    assert unnamed(found.up, LEVELS).empty([0, 1, 2, 4, 5]) == ["no video is of 1 of 6 classes of city, 3 first"]


@pytest.mark.parametrize(
    ("row", "given", "said"),
    [
        ((3, 1, 1, 1), True, None),
        ((3, 2, 2, 2), False, "city 3 is in state 2, by earlier lines in 1"),
        ((3, 2, 2, 2), True, "city 3 is in state 2, by it in 1"),
        ((6, 4, 3, 1), False, None),
        ((6, 4, 3, 1), True, "city 6 is unknown, it names 0 to 5"),
        ((6, 4, 3, 0), False, "country 3 is in continent 0, by earlier lines in 1"),
        ((5, 5, 3, 1), True, "city 5 is in state 5, by it in 4"),
        ((5, 4, 3, 2), True, "country 3 is in continent 2, by it in 1"),
    ],
)
def test_ids_that_do_not_fit(row: tuple[int, ...], given: bool, said: str | None) -> None:
    ids, up = np.array([*IDS, row]), parse_mapping(MAPPING, LEVELS)
    found = first_conflict(ids, LEVELS, up, "it") if given else first_conflict(ids, LEVELS)
    assert found == (None if said is None else (6, said))


def test_names_that_differ_from_a_mapping() -> None:
    up = parse_mapping(MAPPING, LEVELS)
    assert difference(number_places(PLACES[:5], LEVELS), up) == "5 classes of city, not 6"
    other = [*PLACES[:3], ("Ghent", "East Flanders", "Belgium", "Europe"), *PLACES[4:]]
    assert difference(number_places(other, LEVELS), up) == "city 3 (Ghent) is in state 3, not in 1"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "not a list of 3 dictionaries (city to state, state to country, country to continent)"),
        ([{}, {}], "not a list of 3"),
        ([[], {}, {}], "not a list of 3"),
        ([{}, *MAPPING[1:]], "of city to state, city 0 is missing"),
        ([{"0": 0, "2": 1}, *MAPPING[1:]], "of city to state, city 1 is missing"),
        ([{"0": 0, "1": "1"}, *MAPPING[1:]], "'1' is no id of a state"),
        ([{"0": 0, "1": True}, *MAPPING[1:]], "True is no id of a state"),
        ([{"0": 0, "1": 2}, *MAPPING[1:]], "2 is no id of a state"),
        ([{"0": 0, "1": 10**30}, *MAPPING[1:]], "is no id of a state"),
        ([{"0": -1}, *MAPPING[1:]], "-1 is no id of a state"),
        ([{**MAPPING[0], "5": 5}, *MAPPING[1:]], "state 5 is not in it, only 0 to 4 are"),
        ([{**MAPPING[0], "4": 0}, *MAPPING[1:]], "nothing lies in state 3"),
        ([*MAPPING[:2], {**MAPPING[2], "0": 2}], "nothing lies in continent 0"),
    ],
)
def test_mappings_that_are_none(value: Any, said: str) -> None:
    with pytest.raises(FormatError) as found:
        parse_mapping(value, LEVELS)
    assert said in str(found.value)


def test_names_that_are_ids_are_numbered_as_numbers() -> None:
    rows = [(str(city), str(city // 4)) for city in (0, 1, 2, 9, 10, 11, 100)]
    hierarchy = number_places(rows[::-1], ("city", "country"))
    assert hierarchy.places() == rows
    assert hierarchy.names[1] == ("0", "2", "25")


def test_chains_begin_at_any_level() -> None:
    places = [("a", "s", "x", "1"), ("b", "t", "x", "1"), ("c", "u", "y", "2"), ("d", "u", "y", "2")]
    hierarchy = number_places(places, ("city", "state", "country", "continent"))
    for level in range(4):
        named = [
            tuple(hierarchy.names[level + i][number] for i, number in enumerate(row))
            for row in hierarchy.chains(level).tolist()
        ]
        assert named == list(dict.fromkeys(place[level:] for place in places))
