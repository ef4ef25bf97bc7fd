"""Ways of getting chosen frames of a video, each as its users do: vgeo, PyAV, decord, torchcodec, FFmpeg's program.

A way takes a path, the numbers of the wanted frames and a side (None: as stored) and yields images [H, W, 3].
"""

import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import av
import numpy as np

from vgeo.video.isolated import IsolatedVideo
from vgeo.video.pixels import Shape
from vgeo.video.recording import VideoSource

Images = Iterator[np.ndarray]
Way = Callable[[Path, Sequence[int], int | None], Images]
_AT_ONCE = 32  # frames that libraries are asked for at a time; all of them at once would take gigabytes


def with_vgeo(path: Path, numbers: Sequence[int], side: int | None) -> Images:
    video = IsolatedVideo(path, "pyav")
    try:
        yield from (image for _, image in video.images(numbers, Shape(side, square=side is not None)))
    finally:
        video.close()


def with_vgeo_here(path: Path, numbers: Sequence[int], side: int | None) -> Images:
    """Without a process of its own."""
    video = VideoSource(path, "pyav")
    yield from (image for _, image in video.images(numbers, Shape(side, square=side is not None)))
    video.close()


def with_pyav(path: Path, numbers: Sequence[int], side: int | None) -> Images:
    wanted = set(numbers)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                yield frame.reformat(side, side, "rgb24", interpolation="BICUBIC").to_ndarray()


def with_pyav_seeks(path: Path, numbers: Sequence[int], side: int | None) -> Images:
    """A seek for each frame, as simple loaders do; right where frames come at one rate from 0 on."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for number in numbers:
            moment_s = number / (stream.average_rate or Fraction(30))
            container.seek(int(moment_s / stream.time_base), stream=stream)
            frame = next(f for f in container.decode(stream) if f.time >= moment_s - 1e-6)
            yield frame.reformat(side, side, "rgb24", interpolation="BICUBIC").to_ndarray()


def with_decord(path: Path, numbers: Sequence[int], side: int | None) -> Images:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(str(path), width=side or -1, height=side or -1)
    for some in _chunks(numbers):
        yield from reader.get_batch(list(some)).asnumpy()


def with_torchcodec(path: Path, numbers: Sequence[int], side: int | None) -> Images:
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    transforms = None if side is None else [Resize((side, side))]
    decoder = VideoDecoder(str(path), dimension_order="NHWC", transforms=transforms)
    for some in _chunks(numbers):
        yield from decoder.get_frames_at(list(some)).data.numpy()


def with_opencv(path: Path, numbers: Sequence[int], side: int | None) -> Images:
    import cv2

    capture = cv2.VideoCapture(str(path))
    for number in numbers:
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        came, image = capture.read()
        if came:
            yield (image if side is None else cv2.resize(image, (side, side)))[..., ::-1]


def with_ffmpeg(path: Path, numbers: Sequence[int], side: int | None) -> Images:
    """Frames at an even distance; chosen by a filter, as there is no other way to name them."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    chosen = f"select=gte(n\\,{numbers[0]})*eq(mod(n-{numbers[0]}\\,{step})\\,0)"
    scaled = [] if side is None else [f"scale={side}:{side}:flags=bicubic"]
    with av.open(str(path)) as container:
        width, height = container.streams.video[0].width, container.streams.video[0].height
    shape = (side or height, side or width, 3)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", ",".join([chosen, *scaled]), "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while len(raw := process.stdout.read(shape[0] * shape[1] * 3)):
            yield np.frombuffer(raw, np.uint8).reshape(shape)


def available(ways: dict[str, Way]) -> dict[str, Way]:
    """Those whose package or program is here; what is missing is said."""
    found = {}
    for name, way in ways.items():
        module = {"decord": "decord", "torchcodec": "torchcodec", "OpenCV": "cv2"}.get(name)
        if (module and not importlib.util.find_spec(module)) or (name == "ffmpeg" and not shutil.which("ffmpeg")):
            print(f"{name} is not installed")
        else:
            found[name] = way
    return found


def named(way: str) -> str:
    """The name of a way and its version."""
    packages = {"decord": "decord2", "torchcodec": "torchcodec", "OpenCV": "opencv-python-headless"}
    return f"{way} {version(packages[way])}" if way in packages else way


def _chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE))
