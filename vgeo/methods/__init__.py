"""Systems that say where a clip was filmed: one file each, found by its name. Importing this imports none of them."""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from vgeo.errors import UsageError

if TYPE_CHECKING:
    from vgeo.methods.base import Method

_SHARED = {"base", "settings"}


def names() -> list[str]:
    """Names of all methods, by file name, without importing them."""
    return sorted(
        m.name for m in pkgutil.iter_modules(__path__) if m.name not in _SHARED and not m.name.startswith("_")
    )


def get(name: str) -> "type[Method]":
    """Return the class of a method. Raises UsageError that lists the names."""
    if name not in names():
        raise UsageError(f"no method {name!r}; there are {', '.join(names())}")
    method: type[Method] = importlib.import_module(f"{__name__}.{name}").METHOD
    return method
