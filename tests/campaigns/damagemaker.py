"""Makes the damaged clips: good recordings of barcodes in many containers, and what can happen to their bytes.

All of it is the same in each run on a machine: encoders run in one thread, and chance comes from seeds.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from clipmaker import make_video

FRAMES, RATE = 60, 15
GOP = 12

Change = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True, slots=True)
class Damaged:
    """One clip to be tried.

    make: writes it to a path. source: the good recording that it was, else "". numbers: frame i of the file, whole,
    carries number i at time i / rate (the times of `times_s` where they vary). turned: quarter turns, counterclockwise,
    that it is shown at. placed: damage spares what tells the frames' numbers and times; timed: what the file says of
    times is true. compared: with ffmpeg. listed: a report names it.
    """

    name: str
    kind: str
    make: Callable[[Path], object]
    source: str = ""
    numbers: bool = True
    turned: int = 0
    placed: bool = False
    times_s: tuple[float, ...] = tuple(i / RATE for i in range(FRAMES))
    timed: bool = True
    compared: bool = True
    listed: bool = True
    read_as: str | None = None  # the user who reads it, else who runs this


# A constant quantizer: x264's adaptive ones round otherwise from run to run.
H264 = {"g": str(GOP), "bf": "2", "preset": "veryfast", "threads": "1", "qp": "26"}
_EXACT = {"fflags": "+bitexact"}

SOURCES: dict[str, Callable[[Path], object]] = {
    "last.mp4": lambda p: _video(p, H264),  # the index (moov) at the end
    "first.mp4": lambda p: _video(p, H264, {"movflags": "+faststart"}),
    "fragmented.mp4": lambda p: _video(p, H264, {"movflags": "frag_keyframe+empty_moov"}),
    "plain.mkv": lambda p: _video(p, H264),
    "plain.ts": lambda p: _video(p, H264),
    "mpeg4.avi": lambda p: _video(p, {"g": str(GOP), "b": "800k", "threads": "1"}, codec="mpeg4"),
    "vp8.webm": lambda p: _video(p, {"g": str(GOP), "deadline": "realtime", "cpu-used": "8", "b": "800k",
                                     "threads": "1"}, codec="libvpx"),
    "plain.mov": lambda p: _video(p, H264, {"movflags": "+faststart"}),
}  # fmt: skip


class Recordings:
    """Good recordings in a folder, each made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """Where a recording of SOURCES is."""
        path = self._folder / name
        if not path.exists():
            self._folder.mkdir(exist_ok=True)
            SOURCES[name](path)
        return path

    def data(self, name: str) -> bytes:
        """Its bytes."""
        return self.path(name).read_bytes()


def damaged(recordings: Recordings) -> Iterator[Damaged]:
    """Each kind of damage to the bytes of each recording."""
    for source in SOURCES:
        for number, (kind, change, placed) in enumerate(_changes(source)):
            seed = zlib.crc32(f"{source} {number}".encode())
            suffix = Path(source).suffix
            yield Damaged(
                name=f"{Path(source).stem}-{suffix[1:]}-{number:02d}{suffix}",
                kind=kind,
                make=_changed(recordings, source, change, seed),
                source=source,
                placed=placed,
                timed=kind != "doubled",  # the second recording follows the first
            )


def _video(
    path: Path, options: dict[str, str], container: dict[str, str] | None = None, codec: str = "libx264"
) -> Path:
    return make_video(
        path, frames=FRAMES, rate=RATE, codec=codec, options=options, container_options={**_EXACT, **(container or {})}
    )


def _changed(recordings: Recordings, source: str, change: Change, seed: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(recordings.data(source), np.random.default_rng(seed)))


def _changes(source: str) -> Iterator[tuple[str, Change, bool]]:
    """Kind, change, and whether it leaves the frames' times readable.

    An index (of MP4) that lies outside of what is changed tells them, whatever happens to the pictures.
    """
    indexed = source in ("first.mp4", "plain.mov")
    for tenth in range(1, 10):
        yield "truncated", lambda data, _, part=tenth / 10: data[: int(len(data) * part)], False
    for share in (0.0002, 0.002, 0.02):
        for _ in range(3):
            yield "random bytes", lambda data, rng, share=share: _random_bytes(data, rng, share), indexed
    for size in (200, 2000, 20_000):
        for _ in range(3):
            yield "zeroed stretch", lambda data, rng, size=size: _stretch(data, rng, size, zero=True), indexed
    for bytes_ in (1, 2, 4, 8, 16, 32, 64, 128):
        yield "damaged header", lambda data, rng, count=bytes_: _header(data, rng, count), False
    for size in (100, 1000, 10_000):
        yield "missing stretch", lambda data, rng, size=size: _stretch(data, rng, size, zero=None), False
    for size in (3000, 12_000):
        yield "stretch of noise", lambda data, rng, size=size: _stretch(data, rng, size, zero=False), indexed
    for size in (16, 5000):
        yield "beginning gone", lambda data, _, size=size: data[size:], False
    yield "doubled", lambda data, _: data + data, False
    yield "garbage before and after", lambda data, rng: rng.bytes(777) + data + rng.bytes(7777), False


def _spared(data: bytes) -> int:
    """How much at the beginning tells what the recording is: of MP4 with its index first, the whole of that."""
    at = data.find(b"mdat")
    return at + 4 if data[4:8] == b"ftyp" and at > 64 else 512


def _random_bytes(data: bytes, rng: np.random.Generator, share: float) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    first = _spared(data)
    places = rng.integers(first, len(data), max(1, int(share * len(data))))
    changed[places] = rng.integers(0, 256, len(places))
    return changed.tobytes()


def _stretch(data: bytes, rng: np.random.Generator, size: int, zero: bool | None) -> bytes:
    """Zeroes, noise (False) or nothing (None) in place of a stretch."""
    first = _spared(data)
    size = min(size, (len(data) - first) // 2)
    at = int(rng.integers(first, len(data) - size))
    filling = b"" if zero is None else bytes(size) if zero else rng.bytes(size)
    return data[:at] + filling + data[at + size :]


def _header(data: bytes, rng: np.random.Generator, count: int) -> bytes:
    """Random bytes in what says how the recording is made: the first 2 kB, or the index at the end."""
    changed = np.frombuffer(data, np.uint8).copy()
    index = data.find(b"moov")
    first, stop = (index, min(len(data), index + 2000)) if index >= 0 else (4, min(len(data), 1000))
    places = rng.integers(first, stop, count)
    changed[places] = rng.integers(0, 256, count)
    return changed.tobytes()
