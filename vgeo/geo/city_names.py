"""When two names mean the same city: case, accents, spaces and the usual short forms do not count."""

import re
import unicodedata

# Letters that Unicode does not take apart into a base and an accent.
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"})

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
    lower = name.strip().casefold().translate(_LETTERS)
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", lower) if not unicodedata.combining(letter))
    folded = re.sub(r"[\W_]+", "", plain)
    return _ALIASES.get(folded, folded) or lower
