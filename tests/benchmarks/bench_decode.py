"""Decoding chosen frames of 40 s clips of 720p, vgeo against other ways: `bench_decode.py [--rounds 5] [--json FILE]`.

H.264 with a key frame every 30 frames; and at one frame a second, HEVC and VP9. Medians of interleaved rounds, and how
many frames are wrong: every frame carries its number as blocks. vgeo decodes in a process of its own, as its users
have it; "vgeo, here" is without.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
from clipmaker import make_video, read_number  # noqa: E402
from decoders import (  # noqa: E402
    Way,
    available,
    named,
    with_decord,
    with_ffmpeg,
    with_pyav,
    with_pyav_seeks,
    with_torchcodec,
    with_vgeo,
    with_vgeo_here,
)
from rows import Row, write_rows  # noqa: E402

from vgeo.video.children import CHILDREN  # noqa: E402

SECONDS, RATE, SIZE, SIDE = 40, 30, (1280, 720), 224
FRAMES = SECONDS * RATE
SMALL = {"vgeo": with_vgeo, "vgeo, here": with_vgeo_here, "decord": with_decord, "torchcodec": with_torchcodec,
         "ffmpeg": with_ffmpeg, "PyAV in order": with_pyav, "PyAV, a seek a frame": with_pyav_seeks}  # fmt: skip
LARGE = {name: way for name, way in SMALL.items() if not name.startswith("PyAV")}
H264 = {"g": str(RATE), "sc_threshold": "0", "bf": "3", "preset": "veryfast", "crf": "23"}
HEVC = {"preset": "ultrafast", "x265-params": f"keyint={RATE}:min-keyint={RATE}:log-level=none"}
VP9 = {"g": str(RATE), "deadline": "realtime", "cpu-used": "8", "b": "2M"}


@dataclass(frozen=True, slots=True)
class Task:
    """Which frames of which clip are wanted, and how large."""

    step: str
    clip: str
    numbers: Sequence[int]
    side: int | None
    ways: dict[str, Way]
    rounds: int


@dataclass(slots=True)
class Took:
    """What one way took, a value a round."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    wrong: int = 0

    def medians(self) -> tuple[float, float]:
        """Wall and processor time."""
        return statistics.median(self.wall_s), statistics.median(self.cpu_s)


def tasks(rounds: int) -> Iterator[Task]:
    on_keys, between = range(0, FRAMES, RATE), range(RATE // 2, FRAMES, RATE)
    uniform = range(FRAMES // 32, FRAMES, FRAMES // 16)
    yield Task("decode at 1 fps, on key frames", "h264.mp4", on_keys, SIDE, SMALL, rounds)
    yield Task("decode at 1 fps, between key frames", "h264.mp4", between, SIDE, SMALL, rounds)
    yield Task("decode 16 uniform frames", "h264.mp4", uniform, SIDE, SMALL, rounds)
    yield Task("decode all frames", "h264.mp4", range(FRAMES), SIDE, LARGE, (rounds + 1) // 2)
    yield Task("decode all frames, as large as stored", "h264.mp4", range(FRAMES), None, LARGE, (rounds + 1) // 2)
    for clip in ("hevc.mp4", "vp9.webm"):
        yield Task(f"decode at 1 fps, {clip[:-4].rstrip('.').upper()}", clip, between, SIDE, LARGE, (rounds + 1) // 2)


def make_clips(folder: Path) -> None:
    make_video(folder / "h264.mp4", frames=FRAMES, options=H264, size=SIZE, noise=2)
    for name, codec, options in (("hevc.mp4", "libx265", HEVC), ("vp9.webm", "libvpx-vp9", VP9)):
        if codec in av.codecs_available:
            encode_anew(folder / "h264.mp4", folder / name, codec, options)


def encode_anew(source: Path, target: Path, codec: str, options: dict[str, str]) -> None:
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for frame in reader.decode(video=0):
            frame.pict_type = av.video.frame.PictureType.NONE
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))


def cpu_s() -> float:
    """Processor time of this process, of those that it ran and awaited, and of those that decode for it."""
    waiting = [child.pid for child in CHILDREN._idle]
    return sum(os.times()[:4]) + sum(time.clock_gettime(~pid << 3 | 2) for pid in waiting)  # see clock_getcpuclockid(3)


def measure(task: Task, path: Path) -> dict[str, Took]:
    took = {name: Took() for name in available(task.ways)}
    scale = [(side if task.side is None else task.side) / side for side in SIZE]
    right, low = round(136 * scale[0]), round(56 * scale[1])  # where the number is
    for turn in range(task.rounds + 1):
        for name, figures in list(took.items()):
            began, began_cpu = time.perf_counter(), cpu_s()
            try:
                corners = [image[:low, :right].copy() for image in task.ways[name](path, task.numbers, task.side)]
            except Exception as error:  # whatever a library raises
                print(f"{name} cannot: {str(error).splitlines()[-1][:120]}")
                del took[name]
                continue
            wall, cpu = time.perf_counter() - began, cpu_s() - began_cpu
            if turn:  # the first round warms up: libraries are imported, the process that decodes is started
                figures.wall_s.append(wall)
                figures.cpu_s.append(cpu)
            figures.wrong = count_wrong(corners, task)
    return took


def count_wrong(corners: Sequence[np.ndarray], task: Task) -> int:
    source = (136, 56)
    numbers = [read_number(corner, source=source) for corner in corners]
    pairs = zip(numbers, task.numbers, strict=False)
    return sum(number != wanted % 1024 for number, wanted in pairs) + abs(len(numbers) - len(task.numbers))


def rows_of(step: str, took: dict[str, Took]) -> Iterator[Row]:
    wall, cpu = took["vgeo"].medians()
    here = took["vgeo, here"].medians()[1]
    for name, goal in (("torchcodec", "<= 0.6"), ("decord", "<= 1"), ("ffmpeg", "")):
        if name not in took:
            continue
        other_wall, other_cpu = took[name].medians()
        note = f"{took[name].wrong} of its frames are wrong" if took[name].wrong else ""
        if name == "torchcodec":
            note = f"without a process of its own {here / other_cpu:.2f}; " + note
        figures = f"{cpu:.2f}, {other_cpu:.2f} s"
        yield Row(step, f"{named(name)}, CPU", cpu / other_cpu, goal, figures=figures, note=note.rstrip("; "))
        if name == "decord":
            yield Row(step, f"{named(name)}, wall", wall / other_wall, goal, figures=f"{wall:.2f}, {other_wall:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="steps whose name has this")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        make_clips(Path(folder))
        for task in tasks(given.rounds):
            path = Path(folder) / task.clip
            if given.only not in task.step or not path.exists():
                continue
            took = measure(task, path)
            print(f"\n{task.step} ({path.stat().st_size / 1e6:.1f} MB)\n{'':22} wall s   CPU s  wrong")
            for name, figures in took.items():
                print(
                    f"{name:22} {figures.medians()[0]:6.2f}  {figures.medians()[1]:6.2f}  {figures.wrong:5d}",
                    flush=True,
                )
            rows += rows_of(task.step, took)
    write_rows(given.json, rows)


if __name__ == "__main__":
    main()
