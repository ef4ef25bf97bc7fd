"""Templates of tile servers: what is asked for, and what may be written down."""

import pytest

from vgeo.errors import UsageError
from vgeo.formats.tile_template import TileTemplate


def test_addresses() -> None:
    """By the worked example of Bing's tile system: tile 3, 5 at level 3 is quadkey 213."""
    assert TileTemplate("https://a.example/{z}/{x}/{y}.png").url(3, 5, 3) == "https://a.example/3/3/5.png"
    assert TileTemplate("https://a.example/{q}.jpg").url(3, 5, 3) == "https://a.example/213.jpg"
    assert TileTemplate("https://a.example/{z}/{x}/{-y}").url(3, 5, 3) == "https://a.example/3/3/2"
    keyed = TileTemplate("https://a.example/{z}/{x}/{y}?k={key}", "a b&c")
    assert keyed.url(3, 5, 3) == "https://a.example/3/3/5?k=a%20b%26c"


def test_subdomains_share_the_tiles() -> None:
    template = TileTemplate("https://{s}.example/{z}/{x}/{y}", subdomains=("a", "b"))
    assert [template.url(x, 0, 3)[8] for x in range(4)] == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("https://t.example/{z}/{x}/{y}.png", "https://t.example/{z}/{x}/{y}.png"),
        (
            "https://t.example/{z}/{x}/{y}?k={key}&style=satellite",
            "https://t.example/{z}/{x}/{y}?k={key}&style=satellite",
        ),
        ("https://t.example/{z}/{x}/{y}?api_key=1&v=3", "https://t.example/{z}/{x}/{y}?api_key={key}&v=3"),
        ("https://t.example/{z}/{x}/{y}?access_token=pk.ab", "https://t.example/{z}/{x}/{y}?access_token={key}"),
        ("https://t.example/{z}/{x}/{y}?foo=0a1b2c3d4e5f6a7b8c9d", "https://t.example/{z}/{x}/{y}?foo={key}"),
        ("https://t.example/0a1b2c3d-4e5f-6a7b-8c9d/{z}/{x}/{y}", "https://t.example/{key}/{z}/{x}/{y}"),
        ("https://me:hush@t.example/{z}/{x}/{y}", "https://t.example/{z}/{x}/{y}"),
        ("https://t.example/{z}/{x}/{y}?0a1b2c3d4e5f6a7b8c9d", "https://t.example/{z}/{x}/{y}?{key}"),
        ("https://t.example/satellite-v2-orthophoto/{z}/{x}/{y}", "https://t.example/{key}/{z}/{x}/{y}"),
    ],
)  # the last one errs on the safe side
def test_no_key_is_written_down(text: str, public: str) -> None:
    assert TileTemplate(text, "K" if "{key}" in text else None).public == public


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file:///etc/{z}/{x}/{y}", "scheme 'file'"),
        ("ftp://h/{z}/{x}/{y}", "scheme 'ftp'"),
        ("{z}/{x}/{y}.png", "scheme 'none'"),
        ("//h/{z}/{x}/{y}.png", "scheme 'none'"),
        ("https:///{z}/{x}/{y}.png", "names no server"),
        ("https://h:port/{z}/{x}/{y}", "not a URL"),
        ("https://[::1/{z}/{x}/{y}", "not a URL"),
        ("https://h/{z}/{x}", "must hold {z}, {x} and {y}"),
        ("https://h/7/{x}/{y}", "must hold {z}, {x} and {y}"),
        ("https://h/{z}/{x}/{y}@{r}", "holds {r}, not one of {z}"),
        ("https://h/{z}/{x}/{y", "holds {...}"),
        ("https://h/{z}/{x}/{y}\nHost: evil", "holds blanks"),
        ("https://h/{z}/{x}/{y}?{key}", "VGEO_TILES_KEY"),
        ("https://{s}.h/{z}/{x}/{y}", "--subdomains"),
    ],
)
def test_what_is_no_template(text: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        TileTemplate(text)
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_a_key_or_subdomains_without_a_place_are_refused() -> None:
    with pytest.raises(UsageError, match=r"holds no \{key\}"):
        TileTemplate("https://h/{z}/{x}/{y}", key="K")
    with pytest.raises(UsageError, match=r"holds no \{s\}"):
        TileTemplate("https://h/{z}/{x}/{y}", subdomains=("a",))
