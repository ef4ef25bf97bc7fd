"""Clips of one pixel, of millions that a header claims, of sizes that change, and of sound alone."""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from clipmaker import make_video
from damagemaker import H264, RATE, Damaged

_FEW = 10


def odd_sizes() -> Iterator[Damaged]:
    """Frames that are smaller, thinner or longer than any camera's."""
    made = (
        ("ffv1", "mkv", "yuv444p", ((1, 1), (3, 7), (2, 480), (16383, 2), (2, 16383))),
        ("mjpeg", "avi", "yuvj420p", ((1, 1), (3, 7), (641, 3))),
        ("png", "mov", "rgb24", ((1, 1), (3, 7), (4099, 1))),
        ("libvpx-vp9", "webm", "yuv420p", ((1, 1), (3, 7), (16, 2000))),
        ("rawvideo", "avi", "bgr24", ((1, 1), (3, 7))),
        ("libx264", "mp4", "yuv444p", ((1, 1), (3, 7), (2, 2))),
        ("mpeg4", "mp4", "yuv420p", ((1, 1), (3, 7))),
    )
    for codec, suffix, form, sizes in made:
        for width, height in sizes:
            name = f"size-{codec}-{width}x{height}.{suffix}"
            yield Damaged(name, "odd size", _plain(codec, form, (width, height)), numbers=False)


def huge_claims() -> Iterator[Damaged]:
    """Small files whose frames claim to have hundreds of millions of pixels: salvaging them is not asked for."""
    for side in (16383, 65500):
        for suffix in ("avi", "mkv"):
            yield _claim(f"huge-mjpeg-{side}.{suffix}", "mjpeg", "yuvj420p", lambda d, s=side: _jpeg_size(d, s))
    yield _claim("huge-vp8.webm", "libvpx", "yuv420p", _vp8_size)
    for side in (16384, 2**24, 2**31 - 1):
        yield _claim(f"huge-png-{side}.mov", "png", "rgb24", lambda data, side=side: _png_size(data, side))
    for side in (16384, 2**30):
        yield _claim(f"huge-raw-{side}.avi", "rawvideo", "bgr24", lambda data, side=side: _avi_size(data, side))
    yield _claim("huge-ffv1.avi", "ffv1", "yuv420p", lambda data: _avi_size(data, 16384))
    yield _claim("huge-gif.gif", "gif", "rgb8", lambda data: data[:6] + b"\xff\xff\xff\xff" + data[10:])


def size_changes() -> Iterator[Damaged]:
    """Recordings glued to others of other sizes, as cameras that restart make them."""
    for suffix, codec in (("ts", "libx264"), ("ts", "mpeg2video"), ("mpg", "mpeg2video"), ("h264", "libx264")):
        for sizes in (((192, 128), (96, 64)), ((96, 64), (192, 128), (320, 240))):
            name = f"change-{codec}-{len(sizes)}.{suffix}"
            yield Damaged(name, "size changes", _glued(codec, sizes), numbers=False)


def sounds() -> Iterator[Damaged]:
    """Recordings without pictures."""
    for suffix, codec in (
        ("mp4", "aac"),
        ("mkv", "aac"),
        ("ts", "aac"),
        ("avi", "pcm_s16le"),
        ("mov", "aac"),
        ("webm", "libopus"),
    ):
        yield Damaged(f"sound-{suffix}.{suffix}", "sound only", _sound(codec), numbers=False)


def _plain(codec: str, form: str, size: tuple[int, int]) -> Callable[[Path], object]:
    """Frames of noise of any size."""

    def make(path: Path) -> None:
        rng = np.random.default_rng(size[0])
        with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
            stream = container.add_stream(codec, rate=RATE, options={"threads": "1"})
            stream.width, stream.height, stream.pix_fmt = *size, form
            for number in range(_FEW):
                picture = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    return make


def _claim(name: str, codec: str, form: str, change: Callable[[bytes], bytes]) -> Damaged:
    def make(path: Path) -> None:
        _plain(codec, form, (64, 48))(path)
        path.write_bytes(change(path.read_bytes()))

    return Damaged(name, "huge claim", make, numbers=False, compared=False)


def _jpeg_size(data: bytes, side: int) -> bytes:
    return data.replace(
        b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 48, 64), b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", side, side)
    )


def _vp8_size(data: bytes) -> bytes:
    return data.replace(
        b"\x9d\x01\x2a" + struct.pack("<HH", 64, 48), b"\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383)
    )


def _png_size(data: bytes, side: int) -> bytes:
    changed, at = bytearray(data), -1
    while (at := data.find(b"IHDR", at + 1)) >= 0:
        changed[at + 4 : at + 12] = struct.pack(">II", side, side)
        changed[at + 17 : at + 21] = struct.pack(">I", zlib.crc32(bytes(changed[at : at + 17])))
    return bytes(changed)


def _avi_size(data: bytes, side: int) -> bytes:
    """In the stream's own header (BITMAPINFOHEADER)."""
    at = data.find(b"strf") + 12
    return data[:at] + struct.pack("<ii", side, side) + data[at + 8 :]


def _glued(codec: str, sizes: Sequence[tuple[int, int]]) -> Callable[[Path], object]:
    options = H264 if codec == "libx264" else {"threads": "1", "g": "12"}

    def make(path: Path) -> None:
        parts = []
        for size in sizes:
            make_video(path, frames=24, rate=25, codec=codec, options=options, size=size)
            parts.append(path.read_bytes())
        path.write_bytes(b"".join(parts))

    return make


def _sound(codec: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
            stream = container.add_stream(codec, rate=48000, layout="mono")
            form = "s16" if codec.startswith("pcm") else "fltp"
            for number in range(40):
                tone = np.sin(np.arange(1024) / 9)[None] * (0.3 if form == "fltp" else 9000)
                frame = av.AudioFrame.from_ndarray(
                    tone.astype(np.float32 if form == "fltp" else np.int16), form, "mono"
                )
                frame.sample_rate, frame.pts = 48000, 1024 * number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    return make
