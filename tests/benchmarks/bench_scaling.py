"""How time and memory grow with the number of videos, the size of a gallery, and the length of a clip.

    python tests/benchmarks/bench_scaling.py [videos gallery length] [--most 1.0] [--plots FOLDER] [--json FILE]

Runs the real commands, one after another, each as a new process; memory is that of all its processes together, pages
that they share counted once. Growth is the exponent between the two largest sizes, where starting up counts least:
time ~ size ** exponent. --most 0.1 leaves out sizes above a tenth of the largest, for a quick look.
"""

import argparse
import json
import math
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "campaigns"))
from clipmaker import make_video
from memory import Meter
from rows import Row, write_rows

VIDEOS = (1, 3, 10, 30, 100)
POINTS = (10_000, 100_000, 1_000_000, 3_000_000)
SECONDS = (10, 60, 600, 3600)
SIZE, RATE, CLIP_S = (320, 180), 10, 10
LINEAR, FLAT_MB = "<= 1.1", "<= 100"
MODEL = (
    "--set", "init=scratch", "--set", "sigmas=1,1024", "--set", "fourier=64", "--set", "location_width=128",
    "--set", "location_depth=1", "--set", "embed_dim=512", "--set", "image_width=64", "--set", "batch_frames=8",
    "--set", "warmup_steps=0", "--epochs", "1", "--val-fraction", "0", "--device", "cpu",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took."""

    size: int
    seconds: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Curve:
    """One command as something grows. what: "videos", "gallery points" or "seconds of a clip"."""

    command: str
    what: str
    costs: tuple[Cost, ...]

    @property
    def exponent(self) -> float:
        """Of time, between the two largest sizes."""
        before, last = self.costs[-2:]
        return math.log(last.seconds / before.seconds) / math.log(last.size / before.size)

    def row(self) -> Row:
        """Growth of time."""
        seconds = ", ".join(f"{cost.size:,}: {cost.seconds:.1f} s, {cost.peak_mb:.0f} MB" for cost in self.costs)
        step = f"{self.command}, {self.what} growing to {self.costs[-1].size:,}"
        value = round(self.exponent, 2)
        return Row(step, "linear growth of time", value, LINEAR, unit="as exponent", figures=seconds)


def measure(size: int, folder: Path, *words: str) -> Cost:
    """Run a command once. Raises RuntimeError with what it said."""
    meter, start = Meter(), time.monotonic()
    command = [sys.executable, "-m", "vgeo", *words]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        meter.watch(process.pid)
        process.wait()
        seconds = time.monotonic() - start
        said.seek(0)
        if process.returncode:
            raise RuntimeError(f"vgeo {shlex.join(words)} ended with {process.returncode}: {said.read()[-2000:]}")
    print(f"{words[0]:20} {size:>10,} {seconds:8.2f} s {meter.peak_mb:7.0f} MB", flush=True)
    return Cost(size, seconds, meter.peak_mb)


def three(size: int, folder: Path, clips: str) -> list[Cost]:
    """Pictures, features and positions of a folder of clips."""
    costs = [
        measure(size, folder, "extract-frames", clips, "-o", f"frames-{size}"),
        measure(size, folder, "precompute-features", clips, "-o", f"features-{size}.h5"),
        measure(size, folder, "localize", clips, "-m", "nearest", "-g", "near.h5", "-o", f"tracks-{size}.geojson"),
    ]
    shutil.rmtree(folder / f"frames-{size}")
    return costs


def world(folder: Path) -> Path:
    """A clip of CLIP_S seconds with a track beside it, its features and a gallery of them."""
    clip = make_video(
        folder / "clip.mp4", frames=CLIP_S * RATE, rate=RATE, size=SIZE, options={"g": "30", "preset": "veryfast"}
    )
    fixes = [f"{t},{55 + t * 1e-4:.6f},{13 + t * 1e-4:.6f}" for t in range(CLIP_S + 1)]
    (folder / "clip.csv").write_text("\n".join(["time_s,lat_deg,lon_deg", *fixes]) + "\n")
    measure(1, folder, "precompute-features", "clip.mp4", "-o", "features.h5")
    measure(1, folder, "build-gallery", "points", "features.h5", "--keep-features", "-o", "near.h5")
    return clip


def growing_videos(folder: Path, clip: Path, most: float) -> list[Curve]:
    """Folders of so many clips of ten seconds."""
    found = []
    for count in sizes(VIDEOS, most):
        clips = folder / f"clips-{count}"
        clips.mkdir()
        for number in range(count):
            shutil.copy(clip, clips / f"v{number}.mp4")
        found.append(three(count, folder, clips.name))
    return curves(("extract-frames", "precompute-features", "localize"), "videos", found)


def growing_length(folder: Path, clip: Path, most: float) -> list[Curve]:
    """One clip of so many seconds."""
    found = []
    for seconds in sizes(SECONDS, most):
        repeat(clip, folder / f"long-{seconds}.mp4", seconds // CLIP_S)
        found.append(three(seconds, folder, f"long-{seconds}.mp4"))
    return curves(("extract-frames", "precompute-features", "localize"), "seconds of a clip", found)


def growing_gallery(folder: Path, _: Path, most: float) -> list[Curve]:
    """Grids of so many points: laid, embedded by a model (once, then kept) and searched for one clip."""
    measure(1, folder, "build-gallery", "grid", "features.h5", "--spacing-km", "0.4", "-o", "small.h5")
    measure(1, folder, "train", "features.h5", *MODEL, "--gallery", "small.h5", "-o", "model")
    found = []
    for points in sizes(POINTS, most):
        side_deg = 0.01 * math.sqrt(points) / 10  # points 0.1 km apart: a hundredth of a degree holds about 12 rows
        box = [[13, 0], [13 + side_deg, 0], [13 + side_deg, side_deg], [13, side_deg], [13, 0]]
        (folder / "box.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [box]}))
        name, spacing_km = f"grid-{points}.h5", 111.2 * side_deg / math.sqrt(points)
        within = ("--within", "box.geojson", "--spacing-km", f"{spacing_km:.6f}")
        localize = ("localize", "clip.mp4", "--model", "model", "-g", name, "--device", "cpu", "-o")
        found.append(
            [
                measure(points, folder, "build-gallery", "grid", *within, "-o", name),
                measure(points, folder, *localize, f"first-{points}.geojson"),
                measure(points, folder, *localize, f"again-{points}.geojson"),
            ]
        )
    return curves(("build-gallery grid", "localize, keys computed", "localize, keys kept"), "gallery points", found)


def curves(commands: Sequence[str], what: str, found: Sequence[Sequence[Cost]]) -> list[Curve]:
    """Costs by command in place of by size."""
    return [Curve(name, what, costs) for name, costs in zip(commands, zip(*found, strict=True), strict=True)]


def sizes(all_: Sequence[int], most: float) -> list[int]:
    """Those up to a share of the largest, but at least two."""
    return [size for place, size in enumerate(all_) if place < 2 or size <= most * all_[-1]]


def repeat(source: Path, target: Path, times: int) -> None:
    """Put a clip so many times behind itself, without encoding."""
    with av.open(str(source)) as reader:
        stream = reader.streams.video[0]
        packets = [packet for packet in reader.demux(stream) if packet.size]
        length = round(Fraction(CLIP_S) / stream.time_base)
        stamps = [(packet.pts, packet.dts) for packet in packets]
        with av.open(str(target), "w") as writer:
            copy = writer.add_stream_from_template(stream)
            base = stream.time_base
            for number in range(times):
                for packet, (pts, dts) in zip(packets, stamps, strict=True):
                    packet.stream, packet.time_base = copy, base
                    packet.pts, packet.dts = pts + number * length, dts + number * length
                    writer.mux(packet)
                    packet.time_base = base


def memory_rows(found: Sequence[Curve]) -> list[Row]:
    """How much more memory an hour takes than a minute."""
    rows = []
    for curve in found:
        by_size = {cost.size: cost for cost in curve.costs}
        if curve.what == "seconds of a clip" and {60, 3600} <= set(by_size):
            minute, hour = by_size[60].peak_mb, by_size[3600].peak_mb
            step, figures = f"{curve.command}, a clip of an hour", f"{hour:.0f} MB, {minute:.0f} MB"
            rows.append(Row(step, "one of a minute", round(hour - minute), FLAT_MB, unit="MB more", figures=figures))
    return rows


def plot(folder: Path, name: str, found: Sequence[Curve]) -> None:
    """Time and memory over size, both axes logarithmic, with a straight line for linear growth."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for curve in found:
        at = [cost.size for cost in curve.costs]
        left.plot(at, [cost.seconds for cost in curve.costs], marker="o", label=curve.command)
        right.plot(at, [cost.peak_mb for cost in curve.costs], marker="o", label=curve.command)
    last = max(found, key=lambda curve: curve.costs[-1].seconds).costs[-1]
    first = found[0].costs[0].size
    left.plot([first, last.size], [last.seconds * first / last.size, last.seconds], "--", color="gray", label="linear")
    lowest = min(cost.seconds for curve in found for cost in curve.costs)
    left.set(xscale="log", yscale="log", xlabel=found[0].what, ylabel="s", ylim=(lowest / 2, None))
    right.set(xscale="log", xlabel=found[0].what, ylabel="MB, all processes", ylim=(0, None))
    left.legend(fontsize="small")
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / f"scaling_{name}.png", dpi=80)
    pyplot.close(figure)


GROWING: dict[str, Callable[[Path, Path, float], list[Curve]]] = {
    "videos": growing_videos, "gallery": growing_gallery, "length": growing_length,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=", ".join(GROWING))
    parser.add_argument("--most", type=float, default=1.0, help="share of the largest sizes")
    parser.add_argument("--plots", type=Path, default=Path(__file__).parent / "plots", help="folder of the plots")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    rows: list[Row] = []
    for name in chosen.names or GROWING:
        with tempfile.TemporaryDirectory(prefix="vgeo-scaling-") as scratch:
            found = GROWING[name](Path(scratch), world(Path(scratch)), chosen.most)
        try:
            plot(chosen.plots, name, found)
        except ImportError:
            print("no plots: matplotlib is not installed")
        rows += [*(curve.row() for curve in found), *memory_rows(found)]
    for row in rows:
        print(f"{row.step}: {row.value} {row.unit} (goal {row.goal}); {row.figures}")
    write_rows(chosen.json, rows)


if __name__ == "__main__":
    main()
