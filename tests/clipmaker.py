"""Makes small videos whose frames carry their own number as black and white blocks, in many codecs and containers."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 10  # numbers up to 1023; greater ones wrap
WIDTH, HEIGHT = 192, 128
_BLOCK = 16


def draw(number: int, width: int = WIDTH, height: int = HEIGHT, noise: float = 0) -> np.ndarray:
    """A picture [H, W, 3] with `number` in two rows of blocks (upper left) over a texture that moves."""
    y, x = np.mgrid[0:height, 0:width]
    texture = 128 + 60 * np.sin((x + 3 * number) / 9) * np.cos((y - 2 * number) / 11)
    if noise:
        texture = texture + np.random.default_rng(number).normal(0, noise, texture.shape)
    image = np.repeat(np.clip(texture, 0, 255)[..., None], 3, axis=2).astype(np.uint8)
    image[..., 0] = (image[..., 0] * 0.8).astype(np.uint8)
    for bit in range(BITS):
        row, column = divmod(bit, 5)
        top, left = 8 + row * 24, 8 + column * 24
        image[top : top + _BLOCK, left : left + _BLOCK] = 255 if number >> bit & 1 else 0
    return image


def read_number(image: np.ndarray, source: tuple[int, int] = (WIDTH, HEIGHT)) -> int:
    """The number drawn by `draw` on a picture of size `source` (width, height), from that picture at any size."""
    scale_y, scale_x = image.shape[0] / source[1], image.shape[1] / source[0]
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, 5)
        y, x = (16 + row * 24) * scale_y, (16 + column * 24) * scale_x
        reach_y, reach_x = int(4 * scale_y), int(4 * scale_x)
        patch = image[int(y) - reach_y : int(y) + reach_y + 1, int(x) - reach_x : int(x) + reach_x + 1]
        number |= int(patch.mean() > 128) << bit
    return number


def make_video(
    path: Path,
    *,
    frames: int = 90,
    rate: Fraction | int = 30,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pts_ms: Sequence[int] | None = None,
    rotation: int | None = None,
    container_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    noise: float = 0,
) -> Path:
    """Encode frames 0..frames-1 to `path`; its suffix chooses the container. `pts_ms`: times for a variable rate."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        if pts_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(number, *size, noise), format="rgb24")
            if pts_ms is not None:
                frame.pts, frame.time_base = pts_ms[number], Fraction(1, 1000)
            else:
                frame.pts, frame.time_base = number, 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def copy_cut(source: Path, target: Path, from_packet: int, edit_at: int | None = None) -> Path:
    """Copy packets without encoding, from packet `from_packet` on.

    edit_at: number of the packet whose time becomes 0, so that those before it become negative (an edit list hides
    them); None shifts to the smallest dts.
    """
    with av.open(str(source)) as reader:
        stream = reader.streams.video[0]
        packets = [packet for packet in reader.demux(stream) if packet.size]
        kept = packets[from_packet:]
        options = {} if edit_at is None else {"avoid_negative_ts": "disabled"}
        with av.open(str(target), "w", options=options) as writer:
            copy = writer.add_stream_from_template(stream)
            shift = min(p.dts for p in kept) if edit_at is None else packets[edit_at].pts
            for packet in kept:
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = copy
                writer.mux(packet)
    return target
