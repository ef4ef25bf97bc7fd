"""Names that are paths: in lists, tables and files of strangers, on the command line, and on the disk."""

# ruff: noqa: E501  # a case a line

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import smallworld
from campaign_hostile import Case
from forks import Ran

sys.path.append(str(Path(__file__).resolve().parents[1]))

Make = Callable[[Path], None]
_CHAIN = ("../" * 8) + "etc/passwd"
NAMES = {
    "../ in a name": "../../secret", "an absolute name": "/etc/passwd", "a name of dots": "..", "an empty name": " ",
    "300 bytes": "n" * 300, "300 bytes of emoji": "\U0001f3a5" * 75, "a NUL": "a\0b", "a line break": "a\nb", "quotes": "a'\"b`$(touch pwned)",
    "a backslash": "..\\..\\secret", "an option": "-rf", "a hidden name": ".lock", "half a letter": "a\ud800b",
    "a device": "CON", "composed and decomposed": "\u00e9", "a URL": "http://127.0.0.1/x", "our own file": "frames.jsonl",
}  # fmt: skip


def world(here: Path, train: bool) -> Path:
    """The small world, and rankings with their truth."""
    steps = [step for step in smallworld.STEPS if train or step[0] != "train"]
    smallworld.make_world(here, steps)
    (here / "ranks.json").write_text('{"v0": ["a", "b"]}')
    (here / "truth.csv").write_text("clip,tile,lat,lon\nv0,a,1,2\n")
    return here


def cases(world: Path, port: int) -> Iterator[Case]:
    """Ids in files, paths in files, and files that are something else."""
    yield from _ids()
    yield from _paths_in_lists(port)
    yield from _files()
    yield from _outputs()
    yield from _tiles()
    yield from _pictures()


# --- ids that are paths ---


def _frames(here: Path, records: list[dict[str, Any]]) -> None:
    """A folder bad/ with a frames.jsonl, and one picture."""
    (here / "bad").mkdir()
    (here / "bad" / "p.jpg").write_bytes((here / "frames" / "v0" / "000000.jpg").read_bytes())
    (here / "bad" / "frames.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def _record(video_id: Any = "v", path: Any = "p.jpg", **more: Any) -> dict[str, Any]:
    return {"video_id": video_id, "frame_index": 0, "time_s": 0.0, "path": path, "lat_deg": 1.0, "lon_deg": 2.0, **more}


def _ids() -> Iterator[Case]:
    """Whatever a clip is called, what is made of it lies in the folder that was named."""
    for name, text in NAMES.items():

        def frames(here: Path, text: str = text) -> None:
            _frames(here, [_record(text), _record("other")])

        def table(here: Path, text: str = text) -> None:
            rows = [{"video_id": text, "lat": 1 + t, "lon": 2, "time_s": t} for t in range(3)]
            (here / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

        precompute = ("precompute-features", "bad", "-e", "gist", "--device", "cpu", "-o", "out.h5")
        fine = (0, 65, 66) if "\0" in text else (0,)
        yield Case(name=f"{name} as a clip of frames", kind="paths", make=frames, args=precompute, code=fine)
        localize = (
            "localize",
            "bad",
            "-m",
            "nearest",
            "-g",
            "near.h5",
            "-o",
            "out/",
            "-f",
            "csv",
            "--report",
            "out.jsonl",
        )
        yield Case(name=f"{name} as a file of results", kind="paths", make=frames, args=localize, code=fine,
                   holds=_results(1 if len(fine) > 1 else 2), may_make=r"out(\.jsonl)?")  # fmt: skip
        score = ("score-trajectory", "bad.jsonl", "--truth", "bad.jsonl", "--per-clip", "-f", "json")
        yield Case(name=f"{name} as a clip of tracks", kind="paths", make=table, args=score, code=fine)


def _results(least: int) -> Callable[[Path, Ran], str]:
    def holds(here: Path, _: Ran) -> str:
        found = [path for path in (here / "out").rglob("*") if path.suffix == ".csv"]
        return "" if len(found) >= least and all(p.parent == here / "out" for p in found) else f"made {found}"

    return holds


# --- paths in files ---


def _paths_in_lists(port: int) -> Iterator[Case]:
    """A frames.jsonl from a stranger names pictures; a list names videos."""
    bad = {
        "../": "../../secret.jpg", "absolute": "/etc/passwd", "a NUL": "a\0.jpg", "../ in the middle": "a/../../../secret.jpg",
        "300 bytes": "n" * 300 + ".jpg", "a folder": ".", "a URL": f"http://127.0.0.1:{port}/x.jpg", "a device": "../dev/zero",
        "not text": ["p.jpg"], "nothing": "",
    }  # fmt: skip
    for name, path in bad.items():

        def make(here: Path, path: Any = path) -> None:
            _frames(here, [_record(path=path)])

        args = ("precompute-features", "bad", "-e", "gist", "--device", "cpu", "-o", "out.h5")
        yield Case(name=f"{name} as a picture's path", kind="paths", make=make, args=args, code=(65, 66))
    for name, line in {
        "a list of a URL": f"http://127.0.0.1:{port}/x.mp4", "a list of a protocol": "concat:../secret.mp4|x",
        "a list of a playlist": "list.m3u8", "a list of a device": "/dev/zero", "a list of a file that is not": _CHAIN + "x",
        "a list of itself": "bad.txt", "a list with a NUL": "a\0b.mp4", "a list of 1 MB a line": "x" * 2**20,
        "a list of an option": "-rf.mp4",
    }.items():  # fmt: skip

        def listed(here: Path, line: str = line) -> None:
            (here / "bad.txt").write_text(line + "\n")
            (here / "list.m3u8").write_text(
                f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n#EXTINF:1,\n../secret.mp4\n"
            )

        args = ("extract-frames", "bad.txt", "--count", "1", "-o", "out")
        yield Case(name=name, kind="paths", make=listed, args=args, code=(65, 66, 3), says=r"vgeo|error")
    for name, record, says in (
        ("half a position", _record(lon_deg=None), "only one of"),
        ("95 degrees", _record(lat_deg=95), "not on the Earth"),
        ("a time of 10^300", _record(time_s=1e300), "time_s"),
        ("a number of another kind", _record(frame_index=[1]), "line 1"),
        ("labels that are a list", _record(labels=[1]), "line 1"),
        ("no clip", {"path": "p.jpg"}, "video_id"),
    ):
        yield Case(name=f"frames.jsonl with {name}", kind="paths", make=lambda here, r=record: _frames(here, [r]), code=(65,),
                   args=("precompute-features", "bad", "-e", "gist", "-o", "out.h5"), says=says)  # fmt: skip


# --- files that are something else ---


def _files() -> Iterator[Case]:
    """Pipes, devices, folders, loops and strange names on the command line."""
    kinds: dict[str, tuple[Make, str]] = {
        "a pipe that nobody fills": (lambda here: os.mkfifo(here / "bad"), "bad"),
        "a folder": (lambda here: (here / "bad").mkdir(), "bad"),
        "a link in a circle": (lambda here: (here / "bad").symlink_to("bad"), "bad"),
        "a link to nothing": (lambda here: (here / "bad").symlink_to("nowhere"), "bad"),
        "an endless device": (lambda here: (here / "bad").symlink_to("/dev/zero"), "bad"),
        "a memory device": (lambda here: (here / "bad").symlink_to("/proc/self/mem"), "bad"),
    }
    commands = {
        ".mp4": ("extract-frames", "bad.mp4", "--count", "1", "-o", "out"),
        ".h5": ("build-gallery", "grid", "bad.h5", "-o", "out.h5"),
        ".geojson": ("score-trajectory", "bad.geojson", "--truth", "tracks.geojson"),
        ".csv": ("build-gallery", "points", "bad.csv", "-o", "out.csv"),
        ".json": ("score-rankings", "bad.json", "--truth", "truth.csv", "-g", "near.h5"),
        ".mbtiles": ("build-gallery", "aerial", "bad.mbtiles", "-o", "out.h5"),
        ".txt": ("extract-frames", "bad.txt", "-o", "out"),
        ".toml": ("train", "features.h5", "--config", "bad.toml", "-o", "out"),
        ".jsonl": ("precompute-features", "bad.jsonl", "-e", "gist", "-o", "out.h5"),
    }
    for name, (make, _) in kinds.items():
        for suffix, args in commands.items():

            def renamed(here: Path, make: Make = make, suffix: str = suffix) -> None:
                make(here)
                (here / "bad").rename(here / f"bad{suffix}")

            says = "bad" if name != "a link in a circle" else ""
            code = (65, 66, 78, 3, *((0,) if name == "a folder" else ()))
            yield Case(name=f"{name} as {suffix}", kind="special files", make=renamed, args=args, code=code, says=says)
    for name in (
        "-rf.mp4",
        "two\nlines.mp4",
        "quote'\".mp4",
        "é.mp4",
        "\U0001f3a5.mp4",
        "\udcff\udcfe.mp4",
        "%06d.mp4",
        "*.mp4",
    ):

        def named(here: Path, name: str = name) -> None:
            (here / "in").mkdir()
            (here / "in" / name).write_bytes((here / "clips" / "v0.mp4").read_bytes())

        yield Case(name=f"{name!r} in a folder", kind="special files", make=named, code=(0,), holds=_some_frames(1),
                   args=("extract-frames", "in", "--count", "1", "-o", "out"))  # fmt: skip
    for name, pair in {
        "twins by normalisation": ("in/\u00e9.mp4", "in/e\u0301.mp4"), "twins by case": ("in/A.mp4", "in/a.mp4"),
        "one name in two folders": ("in/1/a.mp4", "in/2/a.mp4"), "one name with two suffixes": ("in/a.mp4", "in/a.mov"),
    }.items():  # fmt: skip

        def twins(here: Path, pair: tuple[str, str] = pair) -> None:
            for path in pair:
                (here / path).parent.mkdir(parents=True, exist_ok=True)
                (here / path).write_bytes((here / "clips" / "v0.mp4").read_bytes())

        yield Case(name=name, kind="special files", make=twins, code=(0,), holds=_some_frames(2),
                   args=("extract-frames", "in", "--count", "1", "-o", "out"))  # fmt: skip


def _some_frames(videos: int) -> Callable[[Path, Ran], str]:
    def holds(here: Path, _: Ran) -> str:
        records = [json.loads(text) for text in (here / "out" / "frames.jsonl").read_text().splitlines()]
        there = {r["video_id"] for r in records if (here / "out" / r["path"]).is_file()}
        return "" if len(there) == videos and len({r["path"] for r in records}) == videos else f"frames of {there}"

    return holds


# --- outputs ---


def _outputs() -> Iterator[Case]:
    """What is there under an output's name, and leads elsewhere."""

    def linked(here: Path) -> None:
        (here / "out.csv").symlink_to("../secret.csv")

    def linked_folder(here: Path) -> None:
        (here.parent / "victim").mkdir()
        (here.parent / "victim" / "v0").mkdir()
        (here.parent / "victim" / "v0" / "000000.jpg").write_bytes(b"mine")
        (here / "out").mkdir()
        (here / "out" / "v0").symlink_to("../../victim/v0")

    points = ("build-gallery", "points", "features.h5", "-o", "out.csv")
    yield Case(
        name="an output that is a link, unasked", kind="outputs", make=linked, args=points, code=(73,), says="out.csv"
    )
    yield Case(name="an output that is a link, to be replaced", kind="outputs", make=linked, args=(*points, "--overwrite"),
               code=(0,))  # fmt: skip
    extract = ("extract-frames", "clips/v0.mp4", "--count", "1", "-o", "out")
    for args in (extract, (*extract, "--overwrite")):
        yield Case(
            name="a clip's folder that is a link",
            kind="outputs",
            make=linked_folder,
            args=args,
            code=(73, 3),
            says="v0",
        )
    yield Case(
        name="a folder for a file",
        kind="outputs",
        make=lambda here: (here / "out.csv").mkdir(),
        args=points,
        code=(73,),
    )
    for name, out in {"a name of 300 bytes": "n" * 300 + ".csv", "a folder that is a file": "clips.csv/x.csv",
                      "a device": "/dev/null/x.csv", "the root": "/"}.items():  # fmt: skip
        yield Case(name=f"{name} as an output", kind="outputs", make=lambda here: None, code=(73, 2),
                   args=("build-gallery", "points", "features.h5", "-o", out))  # fmt: skip


# --- tiles and pictures ---


def _tiles() -> Iterator[Case]:
    """MBTiles with names, views and sizes of a stranger."""
    scripts = {
        "columns that are paths": "INSERT INTO tiles VALUES (3, '../../x', '/etc/passwd', x'00')",
        "columns of 2^60": "INSERT INTO tiles VALUES (3, 1152921504606846976, 0, x'00')",
        "zoom -1": "INSERT INTO tiles VALUES (-1, 0, 0, x'00')",
        "a picture that is none": "INSERT INTO tiles VALUES (3, 1, 1, 'attach')",
        "no tiles": "SELECT 1",
        "vector tiles": "INSERT INTO metadata VALUES ('format', 'pbf')",
    }
    for name, script in scripts.items():

        def make(here: Path, script: str = script) -> None:
            with sqlite3.connect(here / "bad.mbtiles") as file:
                file.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
                file.execute("CREATE TABLE tiles (zoom_level, tile_column, tile_row, tile_data)")
                file.execute(script)
            file.close()

        yield Case(name=f"MBTiles with {name}", kind="paths", make=make, args=("build-gallery", "aerial", "bad.mbtiles", "-o",
                   "out.h5"), code=(65, 66), says="bad.mbtiles")  # fmt: skip

    def attached(here: Path) -> None:
        with sqlite3.connect(here / "bad.mbtiles") as file:
            file.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
            file.execute(
                "CREATE VIEW tiles AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1e6) "
                "SELECT 3 AS zoom_level, i AS tile_column, 'north' AS tile_row, zeroblob(100) AS tile_data FROM n"
            )
        file.close()

    yield Case(name="MBTiles that are a view of a million", kind="paths", make=attached, code=(65, 66), says="bad.mbtiles",
               args=("build-gallery", "aerial", "bad.mbtiles", "-o", "out.h5"))  # fmt: skip


def _pictures() -> Iterator[Case]:
    """Pictures larger than any camera's, and what only claims to be one."""
    for name, claim in {
        "PNG of 20,000 x 20,000": (20_000, 20_000),
        "PNG of 2^31 x 2^31": (2**31 - 1, 2**31 - 1),
    }.items():

        def make(here: Path, claim: tuple[int, int] = claim) -> None:
            _frames(here, [_record(path="p.png")])
            (here / "bad" / "p.png").write_bytes(_png(*claim))

        args = ("precompute-features", "bad", "-e", "gist", "--device", "cpu", "-o", "out.h5")
        yield Case(name=name, kind="pictures", make=make, args=args, code=(65,), says=r"p\.png|decoded")


def _png(width: int, height: int) -> bytes:
    """A picture of zeros that is 1000 times smaller than its pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compressobj(9)
    rows = b"".join(packed.compress(bytes(1 + 3 * min(width, 20_000))) for _ in range(min(height, 20_000) // 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows + packed.flush()) + chunk(b"IEND", b"")
