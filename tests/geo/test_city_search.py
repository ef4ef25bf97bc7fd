"""Cities by name: namesakes, other spellings, other names; nothing is guessed."""

import re

import pytest

from vgeo.geo import places
from vgeo.geo.city_search import Wanted, find_cities
from vgeo.geo.names import country_key, fold, known_country


def search(city: str, country: str = "", state: str = "", continent: str = "", least: int = 15000) -> tuple[str, ...]:
    """City, state and country that are found, or the problem alone."""
    table = places.load_cities(least)
    (found,) = find_cities([Wanted(city=city, state=state, country=country, continent=continent)], table, least)
    if found.row is None:
        return (found.problem,)
    return table.city[found.row], table.state[found.row], table.country_code[found.row]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("São Paulo", "sao-paulo"), ("saopaulo", "SAO PAULO"), ("Xi'an", "Xi’an"), ("Malmö", "Malmo"),
        ("Łódź", "Lodz"), ("København", "Kobenhavn"), ("Straße", "STRASSE"), ("İzmir", "Izmir"), ("Đà Nẵng", "Da Nang"),
    ],
)  # fmt: skip
def test_spellings_that_are_one_name(one: str, other: str) -> None:
    assert fold(one) == fold(other) != ""


def test_names_that_differ() -> None:
    assert len({fold(name) for name in ("Paris", "Parys", "北京", "東京", "Köln", "Koeln")}) == 6


def test_countries_by_many_names() -> None:
    for names in (
        ["USA", "us", "United States of America"],
        ["Czech Republic", "Czechia"],
        ["Türkiye", "TUR", "Turkey"],
    ):
        assert len({country_key(name) for name in names}) == 1 and known_country(names[0])
    assert country_key("Atlantis") == country_key("ATLANTIS") == "atlantis" and known_country("Atlantis") is None


@pytest.mark.parametrize(
    ("city", "country", "state", "found"),
    [
        ("Paris", "", "", ("Paris", "Île-de-France", "FR")),  # 86 times as populous as the one in Texas
        ("paris", "USA", "", ("Paris", "Texas", "US")),
        ("Paris", "", "Texas", ("Paris", "Texas", "US")),
        ("Portland", "US", "ME", ("Portland", "Maine", "US")),
        ("Portland", "United States", "Oregon", ("Portland", "Oregon", "US")),
        ("Portland", "", "oregon", ("Portland", "Oregon", "US")),
        ("San Jose", "Costa Rica", "", ("San José", "San José", "CR")),
        ("San José", "", "California", ("San Jose", "California", "US")),
        ("Hyderabad", "India", "", ("Hyderabad", "Telangana", "IN")),
        ("Hyderabad", "PK", "", ("Hyderabad", "Sindh", "PK")),
        ("Bangalore", "India", "Karnataka", ("Bengaluru", "Karnataka", "IN")),
        ("Saigon", "", "", ("Ho Chi Minh City", "VN.79", "VN")),
        ("cancun", "Mexico", "", ("Cancún", "Quintana Roo", "MX")),
        ("Stuttgart", "Germany", "Württemberg", ("Stuttgart", "Baden-Wurttemberg", "DE")),  # no such state is known
        ("Frankfurt", "Germany", "", ("Frankfurt am Main", "Hesse", "DE")),  # twelve times Frankfurt (Oder)
    ],
)
def test_found(city: str, country: str, state: str, found: tuple[str, str, str]) -> None:
    assert search(city, country, state) == found


@pytest.mark.parametrize(
    ("city", "country", "state", "says"),
    [
        (
            "Portland",
            "",
            "",
            r"^Portland: ambiguous, Portland, Oregon, US \(.* or Portland, Maine, US \(.*state or country",
        ),
        ("Portland", "USA", "", "ambiguous"),
        ("Hyderabad", "", "", "ambiguous, Hyderabad, Telangana, IN .* or Hyderabad, Sindh, PK"),
        ("San José", "", "", "ambiguous, San Jose, California, US .* or San José, San José, CR"),
        ("Odessa", "", "", "ambiguous, Odesa, .* or Odessa, Texas"),  # the larger one bears it as another name
        ("Paris", "United States", "Tennessee", "no such city of 15,000 people, but Paris, Île-de-France"),
        ("Macau", "China", "", "no such city .* but Macau, .*MO"),
        ("Paris", "Gaul", "", "Paris, Gaul: no country 'Gaul'"),
        ("Xyzzy", "", "", "Xyzzy: no such city of 15,000 people; lower --min-population"),
        ("...", "", "", "no such city"),
    ],
)
def test_not_found(city: str, country: str, state: str, says: str) -> None:
    (problem,) = search(city, country, state)
    assert re.search(says, problem) and "\n" not in problem


def test_the_continent_tells_namesakes_apart() -> None:
    assert search("Athens", continent="Europe")[2] == "GR"
    assert search("London", continent="north america")[2] == "CA"
    assert "ambiguous" in search("Athens", continent="Atlantis")[0]  # says nothing


def test_smaller_cities_bring_more_namesakes() -> None:
    assert search("Paris", "US", least=15000)[1] == "Texas"
    assert "ambiguous" in search("Paris", "US", least=1000)[0]
    assert search("Paris", "US", "Tennessee", least=1000)[1] == "Tennessee"


def test_answers_are_in_order() -> None:
    table = places.load_cities(15000)
    names = ["Lisbon", "Nowhere at all", "Singapore", "Lisbon"]
    found = find_cities([Wanted(city=name) for name in names], table)
    assert [one.row is not None and table.city[one.row] for one in found] == ["Lisbon", False, "Singapore", "Lisbon"]
