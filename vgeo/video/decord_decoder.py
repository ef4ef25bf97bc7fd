"""decord (through the package decord2), for comparison with work that used it.

It finds frames by counting, not by time: measured against known frame numbers it silently returns wrong frames for
HEVC, MPEG-TS, MPEG-4 AVI and files cut without re-encoding, and nothing at all for files damaged in the middle.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vgeo.errors import FormatError, MissingModelError
from vgeo.video.decode import VideoInfo
from vgeo.video.pixels import Pixels, Shape


def images(path: Path, rows: Sequence[int], shape: Shape, info: VideoInfo) -> Iterator[tuple[int, Pixels]]:
    """Yield (row, image) as decord sees them. Raises MissingModelError, and FormatError where decord gives up."""
    try:
        import decord
    except ImportError as error:
        raise MissingModelError("decord is not installed; pip install decord2, or use --decoder pyav") from error
    decord.logging.set_level(decord.logging.QUIET)
    width, height = shape.of(info.width, info.height)
    try:
        reader = decord.VideoReader(str(path), width=width, height=height, num_threads=0)
        for row in rows:
            if row < len(reader):
                yield row, reader[row].asnumpy()
    except decord.DECORDError as error:
        reason = str(error).strip().splitlines()[-1][:200]
        raise FormatError(f"{path}: decord cannot read it ({reason}); use --decoder pyav") from error
