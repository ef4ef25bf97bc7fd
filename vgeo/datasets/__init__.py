"""Published data sets as they lie on disk: one file each, found by its name. Importing this imports none of them."""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from vgeo.errors import UsageError

if TYPE_CHECKING:
    from vgeo.datasets.base import Layout


def names() -> list[str]:
    """Names of all layouts, by file name, without importing them."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base" and not m.name.startswith("_"))


def get(name: str) -> "type[Layout]":
    """Return the class of a layout. Raises UsageError that lists the names."""
    if name not in names():
        raise UsageError(f"no layout {name!r}; there are {', '.join(names())}")
    layout: type[Layout] = importlib.import_module(f"{__name__}.{name}").LAYOUT
    return layout
