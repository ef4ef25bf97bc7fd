"""Memory: clips of an hour beside clips of a minute, files that claim or pack more than there is, and little to begin with.

Of a run, all processes together are counted, each page that they share once. Growth is what a run holds at its highest
beyond what the same command takes of a small honest file, started the same way.
"""

# ruff: noqa: E501  # a case a line

import gzip
import json
import resource
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import forks
from hostile_paths import _png
from memory import Meter
from smallworld import HONEST, STEPS, make_world
from trials import Trial

TITLE = "Memory"
PROMISE = (
    "A clip of an hour takes at most 100 MB more than one of a minute; files that claim terabytes, unpack to gigabytes or "
    "are hundreds of megabytes long are refused or handled with less than 200 MB; where memory ends, one line says so."
)

_LONG_MB, _MOST_MB = 100.0, 200.0
_CLIPS: dict[str, tuple[str, ...]] = {
    "extract-frames": ("extract-frames", "{}.mp4", "--every-s", "2", "-o", "out"),
    "extract-frames, cut": ("extract-frames", "{}.mp4", "--clip-frames", "300", "--frames-per-clip", "4", "-o", "out"),
    "precompute-features": ("precompute-features", "{}.mp4", "-e", "gist", "--every-s", "1", "--batch-size", "16", "--device", "cpu", "-o", "out.h5"),
    "localize": ("localize", "{}.mp4", "-m", "nearest", "-g", "near.h5", "--every-s", "1", "-o", "out.csv"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Large:
    """A file that is more than it should be. make: returns its name; handled: the codes of both ends."""

    name: str
    make: Callable[[Path], None]
    args: Sequence[str]
    code: tuple[int, ...] = (65,)
    stdin: bool = False


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """Long clips, large files, little memory."""
    make_world(scratch, STEPS if share >= 1 else ())
    if share >= 1:
        for name, minutes in (("short", 1), ("long", 60)):
            _film(scratch / f"{name}.mp4", minutes)
        for name, args in _CLIPS.items():
            yield _of_length(scratch, name, args)
    idle = {"": _peak(scratch, ("--version",))[1]}
    for args in HONEST if share >= 1 else ():
        idle[args[0]] = _peak(scratch, args)[1]
        _remove([*scratch.glob("out*")])
    for large in LARGE if share >= 1 else LARGE[1:2]:
        yield _of_size(scratch, large, idle.get(large.args[0], idle[""]))
    for limit_mb in (150, 250, 400, 700) if share >= 1 else ():
        yield from _of_limit(scratch, limit_mb, whole=share >= 1)


def _film(path: Path, minutes: int) -> None:
    """A video at 5 frames a second, small, quickly made."""
    import numpy as np
    from clipmaker import draw

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"preset": "ultrafast", "g": "50", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        pictures = [
            av.VideoFrame.from_ndarray(np.ascontiguousarray(draw(n, 160, 96)), format="rgb24") for n in range(8)
        ]
        for number in range(minutes * 300):
            frame = pictures[number // 25 % 8]
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _peak(here: Path, args: Sequence[str], before: Callable[[], None] | None = None) -> tuple[forks.Ran, float]:
    meter = Meter()
    ran = forks.fork(
        args, here, env={"XDG_CACHE_HOME": str(here / "cache")}, before=before, meanwhile=meter.watch, limit_s=240
    )
    return ran, max(meter.peak_mb, 0.0)


def _of_length(here: Path, name: str, args: Sequence[str]) -> Trial:
    peaks = {}
    for clip in ("short", "long"):
        ran, peaks[clip] = _peak(here, [word.format(clip) for word in args])
        made = list(here.glob("out*"))
        _remove(made)
        if ran.code != 0 or not made:
            return Trial(name, "long clips", False, f"{clip}: {ran.code}: {ran.stderr[-300:]}")
    more = peaks["long"] - peaks["short"]
    return Trial(name, "long clips", more <= _LONG_MB, f"{more:.0f} MB more", {"mb": more, "short_mb": peaks["short"]})


def _of_size(here: Path, large: Large, idle: float) -> Trial:
    large.make(here)

    def feed() -> None:
        import os

        os.dup2(os.open("bad.bin", os.O_RDONLY), 0)

    ran, peak = _peak(here, large.args, feed if large.stdin else None)
    _remove([*here.glob("out*"), *here.glob("bad*")])
    more = peak - idle
    wrong = [f"ended with {ran.code}"] if ran.code not in large.code else []
    wrong += ["internal error"] if ran.traceback or "internal error" in ran.stderr else []
    wrong += [f"took {more:.0f} MB"] if more > _MOST_MB else []
    said = f"{'; '.join(wrong)}: {ran.stderr[-300:]}" if wrong else ""
    return Trial(large.name, "large files", not wrong, said, {"mb": more})


def _of_limit(here: Path, limit_mb: int, whole: bool) -> Iterator[Trial]:
    """Real programs, with so much address space; what starts at all ends well or says in one line what is missing."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit_mb * 2**20, limit_mb * 2**20))

    commands: list[tuple[str, ...]] = [("build-gallery", "points", "features.h5", "-o", "out.csv")]
    if whole:
        commands += [
            ("localize", "features.h5", "-m", "nearest", "-g", "near.h5", "-o", "out.csv"),
            ("precompute-features", "clips", "-e", "gist", "--device", "cpu", "-o", "out.h5"),
            ("extract-frames", "clips", "--count", "3", "-o", "out"),
        ]
    for args in commands:
        ran = forks.shell(["vgeo", *args], here, before=limit, env={"XDG_CACHE_HOME": str(here / "cache")})
        _remove([*here.glob("out*")])
        last = (ran.stderr.strip().splitlines() or [""])[-1]
        ok = ran.code == 0 or (ran.code in (3, 69) and "memory" in ran.stderr)
        ok = ok and not ran.traceback
        said = "" if ok else f"{ran.code}: {ran.stderr[-300:]}"
        yield Trial(f"{args[0]} in {limit_mb} MB", "little memory", ok, said, {"ended": ran.code, "said": last[:200]})


def _remove(paths: Sequence[Path]) -> None:
    import shutil

    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


# --- large files ---


def _repeat(head: bytes, piece: bytes, tail: bytes, size: int, name: str) -> Callable[[Path], None]:
    """A file of so many bytes, from a piece."""

    def make(here: Path) -> None:
        with (here / name).open("wb") as file:
            file.write(head)
            block = piece * (2**20 // len(piece) + 1)
            while file.tell() < size:
                file.write(block)
            file.write(tail)

    return make


def _zipped(name: str, size: int) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        with gzip.open(here / name, "wb", compresslevel=1) as file:
            file.write(b'{"v0": ["')
            for _ in range(size // 2**20):
                file.write(b"x" * 2**20)

    return make


def _bomb(shape: tuple[int, ...], **how: object) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        import shutil

        import h5py

        shutil.copyfile(here / "features.h5", here / "bad.h5")
        with h5py.File(here / "bad.h5", "r+") as file:
            del file["time_s"]
            made = file.create_dataset("time_s", shape, "<f8", **how)
            if how.get("compression"):
                for start in range(0, shape[0], 2**20):
                    made[start : start + 2**20] = 0.0

    return make


def _picture(here: Path) -> None:
    (here / "bad").mkdir()
    (here / "bad" / "p.png").write_bytes(_png(20_000, 20_000))


def _model(here: Path) -> None:
    (here / "bad").mkdir()
    head = {
        "format": "vgeo-model",
        "version": 1,
        "method": "geoclip",
        "hash": "0" * 16,
        "settings": {},
        "encoders": {},
        "extra": {},
    }
    (here / "bad" / "config.json").write_text(json.dumps(head))
    with (here / "bad" / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 2 * 10**8) + b'{"a":"')
        file.write(b" " * (2 * 10**8))


_200MB = 2 * 10**8
_TRACK = ("score-trajectory", "tracks.geojson", "--truth")
_JSON = (
    b'{"type": "FeatureCollection", "features": [',
    b'{"type": "Feature", "properties": {}, "geometry": null},',
    b"null]}",
)
_GPX = (
    b'<gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>\n',
    b'<trkpt lat="1.1234567" lon="2.1234567"><time>2020-01-01T00:00:00Z</time></trkpt>\n',
    b"</trkseg></trk></gpx>",
)
_ROWS = (b"lat,lon,time_s\n", b"51.1234567,12.1234567,1.5\n", b"")
_FRAME = (b'{"video_id": "', b"x", b'"}')
LARGE = (
    Large("4 TiB of HDF5", _bomb((2**39,), chunks=(2**16,)), ("build-gallery", "points", "bad.h5", "-o", "out.h5")),
    Large("a line of 200 MB in frames.jsonl", _repeat(*_FRAME, _200MB, "bad.jsonl"), ("precompute-features", "bad.jsonl", "-e", "gist", "-o", "out.h5")),
    Large("HDF5 packed 1000 times", _bomb((2**26,), chunks=(2**20,), compression="gzip"), ("localize", "bad.h5", "-m", "nearest", "-g", "near.h5", "-o", "out.csv")),
    Large("200 MB of JSON as a track", _repeat(*_JSON, _200MB, "bad.geojson"), (*_TRACK, "bad.geojson")),
    Large("200 MB of JSON as predictions", _repeat(*_JSON, _200MB, "bad.geojson"), ("score-places", "bad.geojson", "--truth", "clips.csv")),
    Large("200 MB of JSON as a gallery", _repeat(*_JSON, _200MB, "bad.geojson"), ("localize", "features.h5", "-m", "nearest", "-g", "bad.geojson", "-o", "out.csv")),
    Large("200 MB of JSON as rankings", _repeat(b'{"v0": [', b'"tile", ', b'"tile"]}', _200MB, "bad.json"), ("score-rankings", "bad.json", "--truth", "bad.json", "-g", "near.h5")),
    Large("200 MB of JSON as settings", _repeat(b"a = '", b"x", b"'", _200MB, "bad.toml"), ("train", "features.h5", "--config", "bad.toml", "-o", "out"), (78, 65)),
    Large("200 MB as a header of safetensors", _model, ("localize", "features.h5", "--model", "bad", "-g", "near.h5", "-o", "out.csv")),
    Large("rankings that unpack to 1 GB", _zipped("bad.json.gz", 2**30), ("score-rankings", "bad.json.gz", "--truth", "clips.csv", "-g", "near.h5")),
    Large("a picture of 400 megapixels", _picture, ("precompute-features", "bad", "-e", "gist", "--device", "cpu", "-o", "out.h5"), (65, 0)),
    Large("a table of a million lines", _repeat(*_ROWS, 26 * 10**6, "bad.csv"), ("build-gallery", "points", "bad.csv", "-o", "out.csv"), (0,)),
    Large("a track of a million lines", _repeat(*_ROWS, 26 * 10**6, "bad.csv"), (*_TRACK, "bad.csv"), (0, 66)),
    Large("a GPX of a million points", _repeat(*_GPX, 82 * 10**6, "bad.gpx"), (*_TRACK, "bad.gpx")),
    Large("200 MB without an end of line on stdin", _repeat(b"", b"x", b"", _200MB, "bad.bin"), ("score-trajectory", "-", "--truth", "features.h5"), stdin=True),
)  # fmt: skip


def report(made: list[Trial]) -> str:
    """What the long clips took, and the large files at most."""
    lines = ["| clip of an hour | more than a minute's, MB |", "|---|---|"]
    lines += [
        f"| {trial.name} | {trial.facts['mb']:.0f} |" for trial in made if trial.kind == "long clips" and trial.facts
    ]
    most = max((trial for trial in made if trial.kind == "large files"), key=lambda trial: trial.facts["mb"])
    return "\n".join([*lines, "", f"Of the large files, {most.name} took most: {most.facts['mb']:.0f} MB."])
