"""Where the pictures of a gallery lie: kept as a full path and as one from the gallery's own folder.

The second lets a folder that holds both be moved or copied.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgeo.errors import FormatError, InputError

if TYPE_CHECKING:
    from vgeo.formats.gallery import Gallery

PICTURED = ("tiles", "regions")  # kinds of galleries whose rows are pictures from above
TILE, REGION, VIDEO, PATH = "tile", "region", "video", "path"  # labels: ids of rows, of what video, of what file
_MOST_UP = 3  # folders above the gallery's: models/gama/gallery.h5 beside tiles/


def place_of(gallery: "Gallery") -> Path:
    """The folder or file that a gallery's pictures come from. Raises InputError where it is gone, FormatError."""
    told = gallery.attributes.get("pictures")
    if not isinstance(told, dict) or not isinstance(told.get("path"), str):
        raise FormatError("the gallery does not say where its pictures lie; build it again")
    relative = told.get("relative")
    if gallery.file is not None and isinstance(relative, str):
        beside = Path(os.path.normpath(gallery.file.absolute().parent / relative))
        if beside.exists():
            return beside
    place = Path(told["path"])
    if not place.exists():
        of = f" of {gallery.file}" if gallery.file is not None else ""
        raise InputError(
            f"{place}: the pictures{of} are gone; put them back, or build the gallery again with "
            "'vgeo build-gallery aerial'"
        )
    return place


def written_to(gallery: "Gallery", path: str | os.PathLike[str]) -> dict[str, Any]:
    """The attributes of a gallery that is about to be written to `path`."""
    told = gallery.attributes.get("pictures")
    if not isinstance(told, dict):
        return gallery.attributes
    try:
        place = place_of(gallery).resolve()
    except (InputError, FormatError):
        return gallery.attributes
    relative = Path(os.path.relpath(place, Path(path).resolve().parent))
    near = relative.parts.count("..") <= _MOST_UP
    told = {name: value for name, value in told.items() if name != "relative"} | {"path": str(place)}
    return {**gallery.attributes, "pictures": told | ({"relative": relative.as_posix()} if near else {})}
