"""A card full of clips, a tenth of them broken, from pictures to positions: as somebody leaves it to run overnight.

`extract-frames`, `precompute-features`, `build-gallery`, `localize` into a folder, and `extract-frames` once more. A
trial is one clip on its way through all of them. A good one is done by each, and is found where it was filmed; a
broken one is failed by each with a line of its name and a reason. The commands end with 3, and count what failed.
"""

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import forks
from campaign_damaged import judge_line
from clipmaker import draw
from damagemaker import H264, Damaged, Recordings, damaged
from oddclips import odd_clips
from trials import Trial, some

TITLE = "A folder with broken clips"
PROMISE = (
    "Of 200 clips the 180 good ones come through all commands, and each of the 20 others is named with its reason."
)

_CLIPS, _BROKEN = 200, 0.1
_FRAMES = 5  # of a clip, one a second: 1000 different pictures in all
_NEAR_DEG = 1e-4
_KINDS = ("truncated", "empty", "no video", "sound only", "no file")

_STEPS = {
    "extract-frames": ("clips", "-o", "frames", "--report", "extract-frames.jsonl"),
    "precompute-features": ("clips", "-o", "features.h5", "--report", "precompute-features.jsonl"),
    "build-gallery": ("points", "features.h5", "--keep-features", "-o", "gallery.h5"),
    "localize": ("clips", "-m", "nearest", "-g", "gallery.h5", "-o", "tracks/", "--report", "localize.jsonl"),
}


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """Make the folder, run the commands, and look at each clip."""
    here = scratch / "card"
    good, broken = make_card(here, Recordings(scratch / "good"), some(_CLIPS, share))
    said: list[str] = []  # of a command as a whole
    for command, words in _STEPS.items():
        ran = forks.fork([command, *words], here, limit_s=600)
        failed = len(broken) if command != "build-gallery" else 0
        said += _judge_run(command, ran, failed, len(good) + failed)
    reports = {name: _report(here, name) for name in ("extract-frames", "precompute-features", "localize")}
    again = forks.fork(["extract-frames", *_STEPS["extract-frames"]], here, limit_s=600)
    said += _judge_run("extract-frames", again, len(broken), len(good) + len(broken))
    once_more = _report(here, "extract-frames")
    for name, number in good.items():
        words = [f"{step}: {lines.get(name)}" for step, lines in reports.items() if not _done(lines.get(name))]
        if once_more.get(name, {}).get("status") != "skipped":
            words.append(f"the second time: {once_more.get(name)}")
        words += _judge_track(here / "tracks" / f"{Path(name).stem}.geojson", number)
        yield Trial(name, "good", not words + said, "; ".join([*words, *said]))
    for name in broken:
        words = []
        for step, lines in {**reports, "the second time": once_more}.items():
            line = lines.get(name)
            faults = ["not in the report"] if line is None else list(judge_line(line, f"clips/{name}"))
            words += [f"{step}: {fault}" for fault in faults]
            words += [f"{step}: {line}"] if line and line["status"] != "failed" else []
        yield Trial(name, "broken", not words + said, "; ".join([*words, *said]))


def report(made: list[Trial]) -> str:
    """Nothing to add to the counts."""
    return f"A good clip has {_FRAMES} frames; its track has to come within {_NEAR_DEG * 111_000:.0f} m of each."


def make_card(here: Path, recordings: Recordings, count: int) -> tuple[dict[str, int], list[str]]:
    """Fill here/clips with videos, tracks beside them, and broken files among them: good names with numbers, broken."""
    folder = here / "clips"
    folder.mkdir(parents=True)
    broken = max(1, round(count * _BROKEN))
    good = {f"drive{number:03d}.mp4": number for number in range(count - broken)}
    for name, number in good.items():
        _drive(folder / name, number)
        fixes = [f"{t},{_latlon(number, t)[0]},{_latlon(number, t)[1]}" for t in range(_FRAMES)]
        (folder / name).with_suffix(".csv").write_text("\n".join(["time_s,lat_deg,lon_deg", *fixes]) + "\n")
    chosen = _hopeless(recordings)
    wanted = [chosen[i * len(chosen) // broken] for i in range(broken)]
    for clip in wanted:
        clip.make(folder / clip.name)
    return good, [clip.name for clip in wanted]


def _hopeless(recordings: Recordings) -> list[Damaged]:
    """Files of which no frame can be had."""
    cut = [clip for clip in damaged(recordings) if clip.source == "last.mp4" and clip.kind == "truncated"]
    odd = [clip for clip in odd_clips(recordings) if clip.kind in _KINDS and clip.listed]
    return [*cut, *odd]


def _drive(path: Path, number: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1, options=H264)
        picture = draw(0)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        for time_s in range(_FRAMES):
            frame = av.VideoFrame.from_ndarray(draw(_FRAMES * number + time_s), format="rgb24")
            frame.pts, frame.time_base = time_s, Fraction(1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _latlon(number: int, time_s: int) -> tuple[float, float]:
    return round(55 + 0.01 * number, 6), round(13 + 0.001 * time_s, 6)


def _judge_run(command: str, ran: forks.Ran, failed: int, inputs: int) -> Iterator[str]:
    if ran.code != (3 if failed else 0) or ran.traceback or ran.stdout:
        yield f"{command} ended with {ran.code}, wrote {ran.stdout[:80]!r}: {ran.stderr[-300:]}"
    if failed and f"{failed} of {inputs} inputs failed" not in ran.stderr:
        yield f"{command} does not count what failed: {ran.stderr[-200:]}"


def _report(here: Path, name: str) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (here / f"{name}.jsonl").read_text().splitlines()]
    return {Path(line["input"]).name: line for line in lines}


def _done(line: dict[str, Any] | None) -> bool:
    if line is None or (line["status"], line["frames"]) != ("done", _FRAMES):
        return False
    return bool(line["message"] == f"positions from {Path(line['input']).stem}.csv, from the clip's start")


def _judge_track(path: Path, number: int) -> Sequence[str]:
    if not path.exists():
        return [f"{path.name} is not there"]
    points = [f for f in json.loads(path.read_text())["features"] if f["geometry"]["type"] == "Point"]
    off = 0.0
    for time_s, point in enumerate(points):
        lat_deg, lon_deg = _latlon(number, time_s)
        lon, lat = point["geometry"]["coordinates"][:2]
        off = max(off, abs(lat - lat_deg), abs(lon - lon_deg))
    return [f"{len(points)} positions, off by {off:g}°"] if len(points) != _FRAMES or off > _NEAR_DEG else []
