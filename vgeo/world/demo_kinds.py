"""What the demos do: the world of each, and the commands that a user would type in its folder.

What is shown is honest: models are trained on the drives in clips/train and localize those in clips/val, which they
have never seen; their tracks serve for the scores alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

SCORE = ("score-trajectory", "tracks.geojson", "--truth", "clips/val", "--format", "table")
PICTURES = ("tracks.png", "map.html")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """What makes one demo differ from another."""

    kind: str = "gps"
    seed: int = 0
    clips: int = 36
    seconds: float = 25.0
    epochs: int = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and what it makes; again=(): it goes on by itself where it stopped."""

    words: tuple[str, ...]
    makes: str
    again: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The world that a demo takes place in, and its commands."""

    settings: DemoSettings  # where nothing else is said
    cities: int
    radius_m: float  # small enough for the training drives to cover most streets
    rate_hz: float
    size: tuple[int, int]  # of the frames, width and height
    tiles: bool  # whether it has aerial tiles, in tiles/
    steps: Callable[[DemoSettings], list[Step]]


def _chosen(*pairs: str) -> tuple[str, ...]:
    return tuple(word for pair in pairs for word in ("--set", pair))


def _gps(settings: DemoSettings) -> list[Step]:
    """GeoCLIP's way, over GPS points. Settings of the method are chosen for places tens of metres apart."""
    chosen = _chosen(
        *("init=scratch", "sigmas=512,4096,32768", "target_radius_km=0.015"),
        *("image_width=512", "location_width=256", "location_depth=1"),
        *("batch_frames=512", "learning_rate=1e-3", "decay_per_epoch=0.97", "warmup_steps=10"),
    )
    return [
        Step(("-q", "extract-frames", "clips/train", "--rate-hz", "2"), "frames"),
        Step(("-q", "precompute-features", "--encoder", "gist"), "features.h5"),
        Step(("build-gallery", "points", "features.h5", "--thin-m", "5"), "gallery.h5", ("--overwrite",)),
        Step(
            ("train", "--method", "geoclip", "--val-fraction", "0", "--epochs", str(settings.epochs), *chosen),
            "models/geoclip",
            ("--overwrite",),
        ),
        Step(
            ("localize", "clips/val", "--model", "models/geoclip", "--out", "tracks.geojson"),
            "tracks.geojson",
            ("--overwrite",),
        ),
    ]


def _aerial(settings: DemoSettings) -> list[Step]:
    """GAMa's way: clips of half a second are trained with the tiles around them, and searched for every 10 m.

    A small GAMa-Net, which starts from nothing; turned tiles and hard negatives need more steps than there are here.
    """
    late = (max(1, settings.epochs * 7 // 10), max(1, settings.epochs * 9 // 10))
    chosen = _chosen(
        *("init=scratch", "aerial_stem=torchvision", "width=16", "embed_dim=128", "tokens=2", "heads=2"),
        *("feedforward=128", "dropout=0", "ground_dropout=0", "frame_px=36,64", "crop_px=32,56", "tile_px=64"),
        *("tile_crop_px=56", "augment=crop", "hard_negative=false", "batch_clips=34", "learning_rate=1e-3"),
        f"milestones={late[0]},{late[1]}",
    )
    return [
        Step(("-q", "extract-frames", "clips/train", "--rate-hz", "15"), "frames"),
        Step(
            ("build-gallery", "aerial", "tiles", "--around", "frames", "--out", "around.h5"),
            "around.h5",
            ("--overwrite",),
        ),
        Step(
            ("train", "frames", "--method", "gama", "--gallery", "around.h5", "--val-fraction", "0", "--precision",
             "fp32", "--epochs", str(settings.epochs), *chosen),
            "models/gama",
            ("--overwrite",),
        ),
        Step(
            ("build-gallery", "grid", "around.h5", "--spacing-km", "0.01", "--margin-km", "0.02", "--out", "grid.csv"),
            "grid.csv",
            ("--overwrite",),
        ),
        Step(("build-gallery", "aerial", "tiles", "--around", "grid.csv"), "gallery.h5", ("--overwrite",)),
        Step(
            ("localize", "clips/val", "--model", "models/gama", "--gallery", "gallery.h5", "--smooth", "viterbi",
             "--out", "tracks.geojson", "--map", "found.html"),
            "tracks.geojson",
            ("--overwrite",),
        ),
    ]  # fmt: skip


STAGES: Mapping[str, Stage] = {
    "gps": Stage(
        settings=DemoSettings(),
        cities=4,
        radius_m=170.0,
        rate_hz=8.0,
        size=(256, 144),
        tiles=False,
        steps=_gps,
    ),
    "aerial": Stage(
        settings=DemoSettings(kind="aerial", clips=90, seconds=10.0, epochs=100),
        cities=1,
        radius_m=120.0,
        rate_hz=15.0,
        size=(128, 72),
        tiles=True,
        steps=_aerial,
    ),
}


def steps(settings: DemoSettings) -> list[Step]:
    """A demo's commands in order."""
    return STAGES[settings.kind].steps(settings)
