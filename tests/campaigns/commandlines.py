"""What a user types, for every command: small, real, and over in a fraction of a second.

`TYPED` has an entry for each of vgeo.cli.COMMANDS; a command without one is a trial that does not hold. In the words,
{out} stands for where outputs go ("" or a folder and a slash), {tiles} for a tile server's address.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import forks
import smallworld

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE.parent / "training")]

from scenemaker import memberships, network, save, write_groups  # noqa: E402
from tilemaker import square, write_tiles  # noqa: E402

BOX = "0.0106,0.0106,0.01194,0.01194"  # 3 x 3 tiles at zoom 19
X, Y, ZOOM = 154_000, 197_000, 19
GAMA = (
    "train", "views", "--method", "gama", "--gallery", "aerial.h5", "--epochs", "1", "--batch-size", "2",
    "--val-fraction", "0", "--out", "models/gama", "--device", "cpu", "--set", "init=scratch", "--set", "width=4",
    "--set", "heads=2", "--set", "feedforward=16", "--set", "aerial_stem=torchvision", "--set", "frame_px=18,34",
    "--set", "crop_px=16,32", "--set", "tile_px=36", "--set", "tile_crop_px=32", "--set", "tokens=2",
    "--set", "embed_dim=16",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """One command line.

    writes: its outputs. data: what is on its stdout: "json", "csv", "text" or "" for nothing. bar: whether it shows
    one. again: what has to be added to go on after an interruption. needs: what has to be made for it. world: whether
    it reads smallworld's files. before: called in forks, to make it smaller than options can.
    """

    words: tuple[str, ...]
    writes: tuple[str, ...] = ()
    data: str = ""
    bar: bool = False
    again: tuple[str, ...] = ()
    needs: str = ""
    world: bool = True
    before: Callable[[], None] | None = None

    def __call__(self, out: str = "", tiles: str = "") -> list[str]:
        """The words after `vgeo`."""
        return [word.replace("{out}", out).replace("{tiles}", tiles) for word in self.words]


def short_drives() -> None:
    """In the demo: of two seconds."""
    from vgeo.world.demo_kinds import STAGES

    STAGES["gps"] = replace(STAGES["gps"], settings=replace(STAGES["gps"].settings, seconds=2.0))  # type: ignore[index]


TYPED: dict[str, Typed] = {
    "extract-frames": Typed(
        words=("extract-frames", "clips", "--rate-hz", "1", "--size", "64", "-o", "{out}frames2"), writes=("frames2",),
        bar=True,
    ),
    "precompute-features": Typed(
        words=("precompute-features", "clips", "-e", "gist", "--rate-hz", "1", "--device", "cpu", "-o", "{out}f2.h5"),
        writes=("f2.h5",), bar=True,
    ),
    "sample-clips": Typed(words=("sample-clips", "features.h5", "--sample", "features.h5=2", "-o", "-"), data="csv"),
    "label-scenes": Typed(
        words=("label-scenes", "frames", "--classifier", "w.pth.tar", "--groups", "groups.csv", "--device", "cpu", "-o",
               "{out}scenes.csv"), writes=("scenes.csv",), bar=True, needs="scenes",
    ),
    "fetch-tiles": Typed(
        words=("fetch-tiles", "{tiles}/{z}/{x}/{y}.png", "--bbox", BOX, "--across", "0", "--attribution", "(c) Test",
               "--rate-hz", "1000", "-o", "{out}tiles2"), writes=("tiles2",), bar=True, needs="tiles", world=False,
    ),
    "build-gallery": Typed(
        words=("build-gallery", "grid", "features.h5", "--spacing-km", "0.4", "-o", "{out}g2.h5"), writes=("g2.h5",),
    ),
    "train": Typed(
        words=("train", "features.h5", *smallworld.TRAIN, "--epochs", "2", "-o", "{out}m2"), writes=("m2",), bar=True,
        again=("--resume",),
    ),
    "localize": Typed(
        words=("localize", "clips", "-m", "nearest", "-g", "near.h5", "--rate-hz", "2", "--device", "cpu", "-o",
               "{out}t2/"), writes=("t2",), bar=True,
    ),
    "localize to stdout": Typed(
        words=("localize", "features.h5", "-m", "nearest", "-g", "near.h5"), data="json", bar=True
    ),
    "rank": Typed(
        words=("rank", "views", "--model", "models/gama", "--gallery", "aerial.h5", "--device", "cpu", "-o",
               "{out}ranks.json"), writes=("ranks.json",), bar=True, needs="aerial",
    ),
    "merge": Typed(words=("merge", "s1.h5", "s2.h5", "-o", "{out}merged.h5"), writes=("merged.h5",), needs="shards"),
    "score-trajectory": Typed(words=("score-trajectory", "tracks.geojson", "--truth", "features.h5"), data="json"),
    "score-places": Typed(words=("score-places", "said.csv", "--truth", "true.csv"), data="json", world=False),
    "score-rankings": Typed(
        words=("score-rankings", "ranks0.json", "--truth", "track0.csv", "--gallery-size", "3"), data="json",
        world=False,
    ),
    "demo": Typed(
        words=("demo", "{out}w2", "--world-only", "--clips", "4"), writes=("w2",), bar=True,
        before=short_drives, world=False,
    ),
    "methods": Typed(words=("methods", "geoclip", "--settings"), data="json", world=False),
    "doctor": Typed(words=("doctor",), data="json", world=False),
}  # fmt: skip


def command(name: str) -> str:
    """The command that an entry types."""
    return name.split(" ", maxsplit=1)[0]


class Workshop:
    """A folder of inputs, made when they are needed; runs see it as links in folders of their own."""

    def __init__(self, here: Path) -> None:
        self.here, self.made, self.tiles, self._count = here / "world", {""}, "", 0
        self.here.mkdir()
        (self.here / "true.csv").write_text("path,city,country\nv0.mp4,Lund,Sweden\nv1.mp4,Ghent,Belgium\n")
        (self.here / "said.csv").write_text("video_id,city,country\nv0,Lund,Sweden\nv1,Graz,Austria\n")
        (self.here / "track0.csv").write_text("video_id,time_s,lat,lon\nv,0,40.7,-74\nv,1,40.71,-74\nv,2,40.8,-74\n")
        (self.here / "ranks0.json").write_text(json.dumps({"v_0": ["v_1", "v_0"], "v_1": ["v_2"], "v_2": ["v_2"]}))

    def place(self, name: str) -> Path:
        """An empty folder for a run of TYPED[name], with links to all inputs."""
        for needs in ("world" if TYPED[name].world else "", TYPED[name].needs):
            if needs not in self.made:
                getattr(self, f"_make_{needs}")()
                self.made.add(needs)
        self._count += 1
        folder = self.here.parent / f"run{self._count}"
        folder.mkdir()
        for path in self.here.iterdir():
            (folder / path.name).symlink_to(path)
        return folder

    def words(self, name: str, out: str = "") -> list[str]:
        """What is typed after `vgeo`."""
        return TYPED[name](out, self.tiles)

    def _make_world(self) -> None:
        smallworld.make_world(self.here)

    def _make_scenes(self) -> None:
        save(network(), self.here / "w.pth.tar")
        write_groups(self.here / "groups.csv", memberships())

    def _make_shards(self) -> None:
        for shard in ("1", "2"):
            words = ["precompute-features", "clips", "-e", "gist", "--rate-hz", "1", "--device", "cpu"]
            self._make([*words, "--shard", f"{shard}/2", "-o", f"s{shard}.h5"])

    def _make_tiles(self) -> None:
        from PIL import Image

        for x in range(262_158, 262_164):
            for y in range(262_122, 262_132):
                path = self.here / "served" / "19" / str(x) / f"{y}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (256, 256), (x % 256, y % 256, 0)).save(path)

    def _make_aerial(self) -> None:
        from PIL import Image

        from vgeo.geo.tiles import position

        write_tiles(self.here / "tiles", square(X, Y, 3), size=36)
        lines = []
        for clip in range(2):
            lat, lon = position(X + clip + 0.5, Y + 0.5, ZOOM)
            (self.here / "views" / f"v{clip}").mkdir(parents=True)
            for number in range(30):
                path = f"v{clip}/{number:03d}.png"
                Image.new("RGB", (34, 18), (90 * clip, 3 * number, 50)).save(self.here / "views" / path)
                record = {"video_id": f"v{clip}", "frame_index": number, "time_s": round(number / 15, 6), "path": path}
                lines.append(json.dumps(record | {"lat_deg": float(lat), "lon_deg": float(lon)}) + "\n")
        (self.here / "views" / "frames.jsonl").write_text("".join(lines))
        for words in (("build-gallery", "aerial", "tiles", "--out", "aerial.h5"), GAMA):
            self._make(words)

    def _make(self, words: Sequence[str]) -> None:
        ran = forks.fork(words, self.here)
        if ran.code != 0:
            raise RuntimeError(f"vgeo {' '.join(words)} ended with {ran.code}: {ran.stderr}")


@contextmanager
def workshop(scratch: Path) -> Iterator[Workshop]:
    """Yield a workshop, with a tile server beside it."""
    shop = Workshop(scratch)
    (shop.here / "served").mkdir()
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "-d", str(shop.here / "served"), "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        shop.tiles = f"http://127.0.0.1:{server.stdout.readline().split(' port ')[1].split(' ')[0]}"
        yield shop
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(shop.here, ignore_errors=True)
