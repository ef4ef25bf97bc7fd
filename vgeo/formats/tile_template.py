"""Where a server keeps its tiles: a URL with {z}, {x} and {y}, as the user gives it.

An API key is no part of what may be written down: `TileTemplate.public` has none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import mercantile

from vgeo.errors import UsageError

KEY_VARIABLE = "VGEO_TILES_KEY"
_SLOT = re.compile(r"\{([^{}]*)\}")
_KNOWN = ("z", "x", "y", "-y", "q", "s", "key")
_ADVICE = "write such as 'https://tiles.example/{z}/{x}/{y}.png'"
_SECRET_NAME = re.compile(r"key|token|secret|sig|auth|pass|cred|session|client|user|subscription|licen[cs]e|id$", re.I)
_SECRET_LENGTH = 16  # a word so long, of letters and digits mixed, is likely a key


@dataclass(frozen=True, slots=True)
class TileTemplate:
    """A checked template. Raises UsageError for one that names no tiles, or not on a web server."""

    text: str
    key: str | None = None
    subdomains: Sequence[str] = ()

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(_SLOT.sub("0", self.text))
            scheme, host, _ = parts.scheme.lower(), parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"the template is not a URL ({error}); {_ADVICE}") from error
        if scheme not in ("http", "https"):
            raise UsageError(
                f"a template of scheme {scheme or 'none'!r} is not fetched, only http and https; {_ADVICE}"
            )
        if not host or any(not letter.isprintable() or letter.isspace() for letter in self.text):
            raise UsageError(f"the template names no server, or holds blanks; {_ADVICE}")
        slots = _SLOT.findall(self.text)
        unknown = [slot for slot in slots if slot not in _KNOWN]
        if unknown or "{" in _SLOT.sub("", self.text):
            known = ", ".join(f"{{{name}}}" for name in _KNOWN)
            raise UsageError(f"the template holds {{{(unknown or ['...'])[0]}}}, not one of {known}; {_ADVICE}")
        self._check_slots(set(slots))

    def _check_slots(self, slots: set[str]) -> None:
        if "q" not in slots and not ({"z", "x"} <= slots and slots & {"y", "-y"}):
            raise UsageError(f"the template must hold {{z}}, {{x}} and {{y}} (or {{-y}}), or {{q}}; {_ADVICE}")
        if ("key" in slots) != bool(self.key):
            missing = "holds {key}: give it in " if not self.key else "holds no {key} for the one in "
            raise UsageError(f"the template {missing}the environment, {KEY_VARIABLE}, or with --key")
        if ("s" in slots) != bool(self.subdomains):
            missing = "holds {s}: name them with" if not self.subdomains else "holds no {s} for"
            raise UsageError(f"the template {missing} --subdomains, such as a,b,c")

    def url(self, x: int, y: int, zoom: int) -> str:
        """The address of a tile; x and y count as in XYZ, southward."""
        values = {"z": str(zoom), "x": str(x), "y": str(y), "-y": str(2**zoom - 1 - y), "key": quote(self.key or "")}
        values["q"] = mercantile.quadkey(x, y, zoom)
        if self.subdomains:
            values["s"] = self.subdomains[(x + y) % len(self.subdomains)]
        return _SLOT.sub(lambda slot: values[slot[1]], self.text)

    @property
    def public(self) -> str:
        """The template as it may be written down: without password, and what looks like a key replaced by {key}."""
        head, _, tail = self.text.partition("://")
        place, mark, query = tail.partition("#")[0].partition("?")
        server, *path = place.split("/")
        path = ["{key}" if _looks_secret(word) else word for word in path]
        words = [_public_parameter(word) for word in query.split("&")] if mark else []
        return f"{head}://{'/'.join([server.rpartition('@')[2], *path])}{mark}{'&'.join(words)}"


def _public_parameter(word: str) -> str:
    name, mark, value = word.partition("=")
    if value and not _SLOT.search(value) and (_SECRET_NAME.search(name) or _looks_secret(value)):
        return f"{name}{mark}{{key}}"
    return "{key}" if not mark and _looks_secret(name) else word


def _looks_secret(word: str) -> bool:
    """Long, with letters and digits, and nothing to be filled in."""
    if _SLOT.search(word) or len(word) < _SECRET_LENGTH:
        return False
    return bool(re.search(r"[0-9]", word) and re.search(r"[A-Za-z]", word)) or len(word) >= 2 * _SECRET_LENGTH
