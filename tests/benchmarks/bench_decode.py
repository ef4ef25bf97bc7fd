"""Frames of a 40 s 720p H.264 clip (a key frame every 30) at 1 Hz, resized to 224 x 224: vgeo against other ways.

    python tests/benchmarks/bench_decode.py [--rounds 5]

Prints medians of interleaved rounds, ratios against sequential PyAV, and how many frames are wrong: every frame carries
its number as blocks. Twice: with wanted times on the key frames, and half a second after them.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from clipmaker import make_video, read_number

from vgeo.video.decode import Video
from vgeo.video.pixels import Shape
from vgeo.video.sampling import Sampling

SECONDS, RATE, SIDE = 40, 30, 224
Images = list[np.ndarray]


def with_vgeo(path: Path, start_s: float) -> Images:
    video = Video(path)
    rows = Sampling(rate_hz=1, start_s=start_s).rows(video.table.time_s, video.table.duration_s)
    return [image for _, image in video.images(rows.tolist(), Shape(SIDE, square=True))]


def with_pyav(path: Path, start_s: float) -> Images:
    wanted = {round((start_s + second) * RATE) for second in range(SECONDS)}
    images = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if round(frame.time * RATE) in wanted:
                small = frame.reformat(SIDE, SIDE, "rgb24", interpolation="BICUBIC")
                images.append(small.to_ndarray())
    return images


def with_pyav_seeks(path: Path, start_s: float) -> Images:
    images = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for second in range(SECONDS):
            moment_s = start_s + second
            container.seek(int(moment_s / stream.time_base), stream=stream)
            frame = next(f for f in container.decode(stream) if f.time >= moment_s - 1e-6)
            images.append(frame.reformat(SIDE, SIDE, "rgb24", interpolation="BICUBIC").to_ndarray())
    return images


def with_decord(path: Path, start_s: float) -> Images:
    import decord

    reader = decord.VideoReader(str(path), width=SIDE, height=SIDE)
    return list(reader.get_batch([round((start_s + s) * RATE) for s in range(SECONDS)]).asnumpy())


def with_torchcodec(path: Path, start_s: float) -> Images:
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    decoder = VideoDecoder(str(path), transforms=[Resize((SIDE, SIDE))])
    batch = decoder.get_frames_played_at([start_s + s for s in range(SECONDS)])
    return [frame.permute(1, 2, 0).numpy() for frame in batch.data]


def with_ffmpeg(path: Path, start_s: float) -> Images:
    chosen = f"select=eq(mod(n-{round(start_s * RATE)}\\,{RATE})\\,0),scale={SIDE}:{SIDE}:flags=bicubic"
    words = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", chosen, "-fps_mode", "passthrough"]
    raw = subprocess.run([*words, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    return list(np.frombuffer(raw, np.uint8).reshape(-1, SIDE, SIDE, 3))


WAYS: dict[str, Callable[[Path, float], Images]] = {
    "PyAV sequential": with_pyav,
    "PyAV, a seek a frame": with_pyav_seeks,
    "vgeo": with_vgeo,
    "decord": with_decord,
    "torchcodec": with_torchcodec,
    "ffmpeg": with_ffmpeg,
}


def available() -> dict[str, Callable[[Path, float], Images]]:
    import importlib.util

    there = {name for name in ("decord", "torchcodec") if importlib.util.find_spec(name)}
    there |= {"ffmpeg"} if shutil.which("ffmpeg") else set()
    return {name: way for name, way in WAYS.items() if name in there or name[0] in "Pv"}


def cpu_s() -> float:
    """Processor time of this process and of those that it ran and awaited."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        options = {"g": str(RATE), "sc_threshold": "0", "bf": "3", "preset": "veryfast", "crf": "23"}
        path = make_video(Path(folder) / "clip.mp4", frames=SECONDS * RATE, options=options, size=(1280, 720), noise=2)
        print(f"{SECONDS} s, 1280 x 720, {path.stat().st_size / 1e6:.1f} MB, {SECONDS} frames wanted, {rounds} rounds")
        for start_s in (0.0, 0.5):
            compare(path, start_s, rounds)


def compare(path: Path, start_s: float, rounds: int) -> None:
    ways = available()
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    wrong: dict[str, int] = {}
    expected = [round((start_s + second) * RATE) % 1024 for second in range(SECONDS)]
    for _ in range(rounds):
        for name, way in ways.items():
            began, began_cpu = time.perf_counter(), cpu_s()
            images = way(path, start_s)
            wall[name].append(time.perf_counter() - began)
            cpu[name].append(cpu_s() - began_cpu)
            numbers = [read_number(image, source=(1280, 720)) for image in images]
            wrong[name] = sum(a != b for a, b in zip(numbers, expected, strict=False)) + abs(len(numbers) - SECONDS)
    base_wall, base_cpu = (statistics.median(times["PyAV sequential"]) for times in (wall, cpu))
    print(f"\nwanted times {start_s} s after the key frames\n{'':22} wall s  ratio   CPU s  ratio  wrong")
    for name in ways:
        took, used = statistics.median(wall[name]), statistics.median(cpu[name])
        ratios = f"{took:6.2f} {took / base_wall:6.2f}  {used:6.2f} {used / base_cpu:6.2f}"
        print(f"{name:22} {ratios}  {wrong[name]:5d}")


if __name__ == "__main__":
    main()
