"""Names that mean the same city."""

import pytest

from vgeo.geo.city_names import city_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cph", "København"), ("sf", "San Francisco"), ("san-francisco", "SANFRANCISCO"), ("saopaulo", "São Paulo"),
        ("zurich", "Zürich"), ("Bangalore", "Bengaluru"), ("New York City", "nyc"), (" Buenos_Aires ", "buenosaires"),
    ],
)  # fmt: skip
def test_the_same(one: str, other: str) -> None:
    assert city_key(one) == city_key(other)


def test_not_the_same() -> None:
    names = ["London", "Londonderry", "San Jose", "San José del Monte", "東京", "大阪", "?", "!", ""]
    assert len({city_key(name) for name in names}) == len(names)
