"""Still pictures as clips: folders of images with their EXIF data, read as far as it can be read."""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from vgeo.errors import FormatError, InputError
from vgeo.records import Floats
from vgeo.video.pixels import Pixels, Shape

_MAX_PIXELS = 2**29  # 500 megapixels: larger claims are bombs
_IMAGE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    ArithmeticError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exif:
    """What a picture says of itself."""

    latlon_deg: tuple[float, float] | None = None
    taken: datetime | None = None  # with a zone only where the camera wrote one (or GPS time)


def read_exif(path: Path) -> Exif:
    """Position and time of a picture; what is missing or damaged is None. Raises nothing for damaged pictures."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                exif = image.getexif()
                gps, details = dict(exif.get_ifd(ExifTags.IFD.GPSInfo)), dict(exif.get_ifd(ExifTags.IFD.Exif))
                base = dict(exif)
    except _IMAGE_ERRORS:
        return Exif()
    return Exif(latlon_deg=_position(gps), taken=_taken(details, base))


def read_image(path: Path, shape: Shape) -> Pixels:
    """Read a picture upright, RGB, resized (bicubic with antialiasing). Raises InputError or FormatError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise FormatError(f"{path}: claims {image.width} x {image.height} pixels, too many for a picture")
                _turn_upright(image)
                upright = image if image.mode == "RGB" else image.convert("RGB")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such picture") from error
    except _IMAGE_ERRORS as error:
        raise FormatError(f"{path}: not a picture that can be read ({error})") from error
    size = shape.of(*upright.size)
    if size != upright.size:
        upright = upright.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(upright)


def _turn_upright(image: Image.Image) -> None:
    """Load the picture and turn it in place: no copy is made of those that are upright, as most are."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except _IMAGE_ERRORS:  # damaged EXIF: the pixels may be fine
        image.load()


def _position(gps: dict[int, Any]) -> tuple[float, float] | None:
    try:
        lat, lon = (_degrees(gps[int(tag)]) for tag in (ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLongitude))
        south = str(gps.get(int(ExifTags.GPS.GPSLatitudeRef), "N")).strip("\0 ").upper().startswith("S")
        west = str(gps.get(int(ExifTags.GPS.GPSLongitudeRef), "E")).strip("\0 ").upper().startswith("W")
    except (KeyError, TypeError, ValueError, ZeroDivisionError, IndexError):
        return None
    lat, lon = -lat if south else lat, -lon if west else lon
    if not (abs(lat) <= 90 and abs(lon) <= 180) or (lat == 0 and lon == 0):  # 0,0 is what cameras without a fix write
        return None
    return lat, lon


def _degrees(value: Any) -> float:
    parts = [float(part) for part in value]
    degrees = sum(part / 60**i for i, part in enumerate(parts[:3]))
    if not np.isfinite(degrees):
        raise ValueError("not a number")
    return degrees


def _taken(details: dict[int, Any], base: dict[int, Any]) -> datetime | None:
    text = details.get(int(ExifTags.Base.DateTimeOriginal)) or base.get(int(ExifTags.Base.DateTime)) or ""
    try:
        when = datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    fraction = str(details.get(int(ExifTags.Base.SubsecTimeOriginal)) or "").strip("\0 ")
    if fraction.isdecimal():
        when += timedelta(seconds=float(f"0.{fraction}"))
    offset = str(details.get(int(ExifTags.Base.OffsetTimeOriginal)) or "").strip("\0 ")
    match = re.fullmatch(r"([+-])(\d\d):(\d\d)", offset)
    if match:
        shift = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return when.replace(tzinfo=timezone(-shift if match[1] == "-" else shift))
    return when.replace(tzinfo=UTC) if offset == "Z" else when


def image_times(exifs: Sequence[Exif]) -> tuple[Floats, datetime | None, str]:
    """Times of a folder's pictures from the first, the first's absolute time, and a remark.

    Cameras' times are used when every picture has one and they rise; else pictures count as one a second.
    """
    taken = [exif.taken for exif in exifs]
    zoned = all(when is not None and when.tzinfo for when in taken)
    naive = all(when is not None and when.tzinfo is None for when in taken)
    if taken and taken[0] is not None and (zoned or naive):
        time_s = np.array([(when - taken[0]).total_seconds() for when in taken if when is not None])
        if (np.diff(time_s) > 0).all():
            return time_s, taken[0].astimezone(UTC) if zoned else None, ""
    return (
        np.arange(len(exifs), dtype=np.float64),
        None,
        "no rising capture times in EXIF: counted as one picture a second" if len(exifs) > 1 else "",
    )


def read_images(
    paths: Sequence[Path], rows: Sequence[int], shape: Shape, lost: list[str]
) -> Iterator[tuple[int, Pixels]]:
    """Yield (row, image); what cannot be read is left out and named in `lost`."""
    for row in rows:
        try:
            yield row, read_image(paths[row], shape)
        except (FormatError, InputError) as error:
            lost.append(str(error))
