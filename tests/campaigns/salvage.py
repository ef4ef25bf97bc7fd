"""What can be had of a damaged recording: pictures that are whole, by the numbers in them, from ffmpeg and from vgeo.

The ffmpeg command line (another build, other versions of its libraries) is what vgeo is compared with.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from clipmaker import BITS, HEIGHT, WIDTH, draw, read_number
from PIL import Image

_BLOCK_OFF = 60  # from black or white: what a block of a whole picture stays within
_PICTURE_OFF = 9.0  # mean difference from what was drawn; encoding takes 1 to 4
_JPEG_OFF = 0.3  # that much more is let pass in pictures that JPEG has changed after that


@dataclass(slots=True)
class Salvaged:
    """Frames that came out. whole: (number, time) of those whose pictures are whole, in order."""

    frames: int = 0
    whole: list[tuple[int, float]] = field(default_factory=list)


def have_ffmpeg() -> bool:
    """Whether there is something to compare with."""
    return shutil.which("ffmpeg") is not None and shutil.which("ffprobe") is not None


def with_ffmpeg(path: Path, numbers: bool, turned: int) -> Salvaged:
    """What `ffmpeg -err_detect ignore_err` makes of a file: upright frames as they come, each once."""
    command = [
        "ffmpeg", "-nostdin", "-hide_banner", "-v", "info", "-threads", "1", "-copyts", "-err_detect", "ignore_err",
        "-protocol_whitelist", "file,pipe", "-i", f"file:{path}", "-map", "0:v:0", "-fps_mode", "passthrough",
        "-vf", "showinfo" if numbers else "scale=16:16,showinfo", "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:",
    ]  # fmt: skip
    try:
        ran = subprocess.run(command, check=False, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return Salvaged()
    said = ran.stderr.decode(errors="replace")
    times = [_seconds(match) for match in re.findall(r"\] n: *\d+ pts: *\S+ pts_time:(\S+)", said)]
    if not numbers:
        return Salvaged(len(ran.stdout) // (16 * 16 * 3))
    width, height = (HEIGHT, WIDTH) if turned % 2 else (WIDTH, HEIGHT)
    images = np.frombuffer(ran.stdout[: len(ran.stdout) // (width * height * 3) * width * height * 3], np.uint8)
    images = images.reshape(-1, height, width, 3)
    return _read(zip(times, images, strict=False), len(images), turned)


def in_order(path: Path, numbers: bool, turned: int) -> Salvaged:
    """What the libraries that vgeo decodes with make of a file, packet by packet from its beginning, in one thread.

    Frames are looked at when all are there: decoders leave in what they cannot decode whatever the memory held before,
    and an old picture in it could look whole.
    """
    frames: list[av.VideoFrame] = []
    with suppress(av.FFmpegError, OSError, IndexError), av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            with suppress(av.FFmpegError, OSError):
                frames += packet.decode()
    if not numbers:
        return Salvaged(len(frames))
    pictures = ((float(f.time or 0), np.rot90(f.to_ndarray(format="rgb24"), turned)) for f in frames)
    return _read(pictures, len(frames), turned)


def with_vgeo(folder: Path, numbers: bool, turned: int) -> tuple[Salvaged, list[int]]:
    """What extract-frames left in a clip's folder, and the frame numbers that it gives the whole pictures."""
    file = folder / "frames.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    if not numbers:
        return Salvaged(len(lines)), []
    images = ((line["time_s"], np.asarray(Image.open(folder / line["path"]))) for line in lines)
    found = _read(images, len(lines), turned, _JPEG_OFF)
    at = {line["time_s"]: line["frame_index"] for line in lines}
    return found, [at[time_s] for _, time_s in found.whole]


def declared_frames(path: Path) -> int | None:
    """How many frames a container says that it has."""
    command = [
        "ffprobe", "-v", "error", "-protocol_whitelist", "file", "-select_streams", "v:0", "-show_entries",
        "stream=nb_frames", "-of", "csv=p=0", f"file:{path}",
    ]  # fmt: skip
    try:
        ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return None
    word = ran.stdout.strip().splitlines()[0].strip(",") if ran.stdout.strip() else ""
    return int(word) if word.isdecimal() else None


def number_of(image: np.ndarray, more: float = 0.0) -> int | None:
    """The number that a whole picture [H, W, 3] carries; None where the picture is damaged. more: let pass."""
    if image.shape != (HEIGHT, WIDTH, 3):
        return None
    for bit in range(BITS):
        row, column = divmod(bit, 5)
        mean = float(image[12 + row * 24 : 21 + row * 24, 12 + column * 24 : 21 + column * 24].mean())
        if _BLOCK_OFF + more < mean < 255 - _BLOCK_OFF - more:
            return None
    number = read_number(image)
    off = np.abs(image[::2, ::2].astype(np.int16) - _drawn(number)).mean()
    return number if off < _PICTURE_OFF + more else None


def _read(pictures: Iterable[tuple[float, np.ndarray]], frames: int, turned: int, more: float = 0.0) -> Salvaged:
    return Salvaged(frames, list(_whole(pictures, turned, more)))


def _whole(pictures: Iterable[tuple[float, np.ndarray]], turned: int, more: float) -> Iterator[tuple[int, float]]:
    for time_s, image in pictures:
        number = number_of(np.rot90(image, -turned), more)
        if number is not None:
            yield number, time_s


@lru_cache(maxsize=1024)
def _drawn(number: int) -> np.ndarray:
    return draw(number)[::2, ::2].astype(np.int16)


def _seconds(word: str) -> float:
    try:
        return float(word)
    except ValueError:  # NOPTS
        return float("nan")
