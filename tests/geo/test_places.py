"""City names against the GeoNames table of another year, brute force, and the outlines of countries."""

import csv
import gzip
import json
import math
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import Point, shape

from vgeo.errors import UsageError
from vgeo.geo import places


@pytest.fixture(scope="module")
def oracle(shared_dir: Path) -> dict[str, dict[str, str]]:
    with open(shared_dir / "data/geonames-cities15000/cities15000.csv", encoding="utf-8") as file:
        return {row["geonameid"]: row for row in csv.DictReader(file)}


def haversine_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    (lat1, lon1), (lat2, lon2) = (tuple(map(math.radians, p)) for p in (a, b))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(h))


def test_nearest_is_no_further_than_brute_force_over_another_table(oracle: dict[str, dict[str, str]]) -> None:
    rng = np.random.default_rng(0)
    spots = np.stack([np.degrees(np.arcsin(rng.uniform(-0.9, 0.95, 25))), rng.uniform(-180, 180, 25)], axis=1)
    table = [(float(row["lat"]), float(row["lon"])) for row in oracle.values()]
    for spot, found in zip(spots, places.find_places(spots), strict=True):
        best = min(haversine_km(tuple(spot), city) for city in table)
        assert (
            found.distance_km <= best + 3
        )  # the tables are of different years: cities moved a little, some were added


def test_hierarchy_agrees_with_the_other_table(oracle: dict[str, dict[str, str]]) -> None:
    rows = [row for row in list(oracle.values())[::40] if row["state"]]
    found = places.find_places([(float(row["lat"]), float(row["lon"])) for row in rows])
    near = [(row, place) for row, place in zip(rows, found, strict=True) if place.distance_km < 0.5]
    assert len(near) > 0.9 * len(rows)
    same_country = [row["country"] == place.country for row, place in near]
    same_continent = [row["continent"] == place.continent for row, place in near]
    assert np.mean(same_country) > 0.97 and np.mean(same_continent) > 0.97
    named = [(row, place) for row, place in near if place.state]
    assert len(named) > 0.95 * len(near)
    assert np.mean([bool(words(row["state"]) & words(place.state)) for row, place in named]) > 0.97


def words(name: str) -> set[str]:
    """Words of a name without accents: the tables spell states differently ("Dhaka", "Dhaka Division")."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    return set(re.findall("[a-z]+", plain)) - {"province", "district", "region", "of"}


def test_states_that_were_merged_are_not_named() -> None:
    """Vietnam used its codes again for other provinces in 2025."""
    (saigon,) = places.find_places([[10.776, 106.701]])
    assert saigon.country == "Vietnam" and saigon.state == ""
    table = places.load_cities(15000, ["VN"])
    assert "VN.79" in set(table.state)


def test_nearest_city_lies_in_its_country(shared_dir: Path) -> None:
    path = shared_dir / "data/natural-earth-110m/ne_110m_admin_0_countries.geojson.gz"
    features = json.loads(gzip.decompress(path.read_bytes()))["features"]
    outlines = {f["properties"]["iso_a2"]: shape(f["geometry"]) for f in features if "iso_a2" in f["properties"]}
    table = places.load_cities(1_000_000)
    inside = [
        outlines[code].buffer(0.5).contains(Point(lon, lat))
        for (lat, lon), code in zip(table.latlon_deg, table.country_code, strict=True)
        if code in outlines
    ]
    assert len(inside) > 300 and np.mean(inside) > 0.99


def test_names_read_as_people_write_them() -> None:
    names = places.nearest_places([[33.158, -117.350], [55.705, 13.191], [55.705, 13.191], [-18.14, 178.44]])
    assert names[0] == "Carlsbad, California, United States"
    assert names[1] == names[2] == "Lund, Skåne, Sweden"
    assert names[3].endswith("Fiji")


def test_a_far_city_is_said_to_be_far() -> None:
    (name,) = places.nearest_places([[0.0, -140.0]])
    distance, _, city = name.partition(" km from ")
    assert int(distance) > 1000 and "French Polynesia" in city


def test_a_name_is_not_said_twice() -> None:
    assert str(places.Place(city="Berlin", state="Berlin", country="Germany", continent="", distance_km=1)) == (
        "Berlin, Germany"
    )


def test_nothing_in_nothing_out() -> None:
    assert places.nearest_places(np.zeros((0, 2))) == []


def test_population_and_countries_narrow_the_table() -> None:
    world = places.load_cities(1_000_000)
    assert 300 < len(world) < 1200 and world.population.min() >= 1_000_000
    nordic = places.load_cities(100_000, ["se", "Norway", "DNK"])
    assert set(nordic.country) == {"Sweden", "Norway", "Denmark"}
    assert "Gothenburg" in nordic.city
    small = places.load_cities(5000, ["LI"])
    assert "Vaduz" in small.city and len(places.load_cities(15000, ["LI"])) < len(small)


def test_unknown_country_names_the_near_ones() -> None:
    with pytest.raises(UsageError, match="Sweden"):
        places.load_cities(15000, ["Swedn"])
    with pytest.raises(UsageError, match="ISO code"):
        places.country_code("XQ")
    assert places.country_code("UK") == places.country_code("gbr") == "GB"
