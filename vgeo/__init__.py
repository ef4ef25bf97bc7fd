"""vgeo says where a video was filmed.

The stages behind the command line are plain functions; the names below are loaded when they are first used, so
`import vgeo` costs nothing:

    vgeo.localize        videos, frames or features -> iterator of Localization
    vgeo.load_model      a model folder, or a method's own weights -> Model
    vgeo.read_tracks     GeoJSON, GPX, KML, CSV, SRT -> list of Track
    vgeo.score           predictions against truth -> ScoreReport
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.5.0"

if TYPE_CHECKING:
    from vgeo.formats.tracks import read_tracks
    from vgeo.stages.localize import localize
    from vgeo.stages.models import load_model
    from vgeo.stages.score_trajectory import score

__all__ = ["__version__", "load_model", "localize", "read_tracks", "score"]

_HOMES = {
    "load_model": "vgeo.stages.models",
    "localize": "vgeo.stages.localize",
    "read_tracks": "vgeo.formats.tracks",
    "score": "vgeo.stages.score_trajectory",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vgeo' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
