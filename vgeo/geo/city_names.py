"""When two names mean the same city: case, accents, spaces and the usual short forms do not count."""

from vgeo.geo.names import fold

# Folded forms -> the folded usual name in English: codes of data sets, and other spellings that are in use.
_ALIASES = {
    "cph": "copenhagen",
    "kobenhavn": "copenhagen",
    "sf": "sanfrancisco",
    "nyc": "newyork",
    "newyorkcity": "newyork",
    "la": "losangeles",
    "washington": "washingtondc",
    "bangalore": "bengaluru",
    "bombay": "mumbai",
    "calcutta": "kolkata",
    "madras": "chennai",
    "saigon": "hochiminhcity",
    "kiev": "kyiv",
    "moskva": "moscow",
    "muenchen": "munich",
    "munchen": "munich",
    "koln": "cologne",
    "koeln": "cologne",
    "wien": "vienna",
    "praha": "prague",
    "warszawa": "warsaw",
    "zuerich": "zurich",
    "geneve": "geneva",
    "roma": "rome",
    "milano": "milan",
    "lisboa": "lisbon",
    "athina": "athens",
    "ciudaddemexico": "mexicocity",
}


def city_key(name: str) -> str:
    """Return what equal cities have in common: San Francisco, san-francisco and sf are all sanfrancisco.

    A name of no letters that are known here is its own key, in lower case.
    """
    folded = fold(name)
    return _ALIASES.get(folded, folded) or name.strip().casefold()
