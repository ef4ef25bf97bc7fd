"""Clips and aerial tiles of the world on disk, as a data set would hold them.

    folder/clips.csv                   video_id, path, city, state, country, continent, split
    folder/train/lisbon-01.mp4, .gpx   H.264, and the positions once a second, with absolute times
    folder/val/...

Clip n of a world is the same whatever else is made. A clip that is there already is not made again.
"""

import csv
import io
import logging
import signal
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vgeo.formats.streams import atomic_write, make_folder, write_output
from vgeo.geo.tiles import ZOOM, tile_of
from vgeo.logs import SILENT, Progress
from vgeo.records import format_utc
from vgeo.world.conditions import draw_conditions
from vgeo.world.drives import Drive
from vgeo.world.world import FRAME_SIZE, World

log = logging.getLogger(__name__)

COLUMNS = ("video_id", "path", "city", "state", "country", "continent", "split")
FIRST_DAY = datetime(2024, 5, 1, 6, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPlan:
    """All that decides a clip."""

    world_seed: int
    n_cities: int
    number: int
    city: str
    video_id: str
    split: str
    seconds: float
    rate_hz: float
    size: tuple[int, int]
    radius_m: float | None


def plan_clips(
    world: World,
    n_clips: int,
    seconds: float,
    *,
    val_share: float = 0.25,
    rate_hz: float = 10.0,
    size: tuple[int, int] = FRAME_SIZE,
    radius_m: float | None = None,
) -> list[ClipPlan]:
    """Spread `n_clips` over the cities in turn; every city's last ones are its validation clips (at least one)."""
    plans = []
    for number in range(n_clips):
        turn, which = divmod(number, len(world.cities))
        of_city = len(range(which, n_clips, len(world.cities)))
        n_val = max(1, round(val_share * of_city)) if of_city > 1 else 0
        city = world.cities[which].name
        plans.append(
            ClipPlan(
                world_seed=world.seed,
                n_cities=len(world.cities),
                number=number,
                city=city,
                video_id=f"{_slug(city)}-{turn + 1:02d}",
                split="val" if turn >= of_city - n_val else "train",
                seconds=seconds,
                rate_hz=rate_hz,
                size=size,
                radius_m=radius_m,
            )
        )
    return plans


def make_clips(
    folder: Path,
    world: World,
    n_clips: int,
    seconds: float,
    *,
    val_share: float = 0.25,
    rate_hz: float = 10.0,
    size: tuple[int, int] = FRAME_SIZE,
    radius_m: float | None = None,
    workers: int = 1,
    progress: Progress = SILENT,
) -> list[Path]:
    """Render drives into `folder` (see the head of this file) and return the videos' paths."""
    plans = plan_clips(world, n_clips, seconds, val_share=val_share, rate_hz=rate_hz, size=size, radius_m=radius_m)
    for split in {plan.split for plan in plans}:
        make_folder(folder / split)
    missing = [plan for plan in plans if not clip_path(folder, plan).exists()]
    progress.start("drive", total=len(missing), unit="clips")
    for plan in _render_all(folder, missing, workers):
        progress.advance(note=plan.video_id)
    write_output(folder / "clips.csv", _table(folder, plans, world))
    return [clip_path(folder, plan) for plan in plans]


def clip_path(folder: Path, plan: ClipPlan) -> Path:
    """Where a clip's video lies."""
    return folder / plan.split / f"{plan.video_id}.mp4"


def _slug(city: str) -> str:
    plain = unicodedata.normalize("NFKD", city).encode("ascii", "ignore").decode()
    return plain.lower().replace(" ", "-")


def _render_all(folder: Path, plans: Sequence[ClipPlan], workers: int) -> Iterator[ClipPlan]:
    if workers <= 1 or len(plans) <= 1:
        for plan in plans:
            yield _render_clip(folder, plan)
        return
    # Workers leave Ctrl-C to the parent, which drops what has not begun; a clip that has begun is finished.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_interrupts)
    try:
        # They start here, and inherit that the signal is held back: as they load, too, it is not theirs.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            made = pool.map(_render_clip, [folder] * len(plans), plans)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield from made
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@lru_cache(maxsize=1)
def _world(seed: int, n_cities: int) -> World:
    return World(seed, n_cities)


def drive_of(plan: ClipPlan) -> Drive:
    """The drive a clip shows, frame by frame."""
    rng = np.random.default_rng([plan.world_seed, 5, plan.number])
    world = _world(plan.world_seed, plan.n_cities)
    return world.drive(plan.city, rng, plan.seconds, rate_hz=plan.rate_hz, radius_m=plan.radius_m)


def frames_of(plan: ClipPlan) -> Iterator[NDArray[np.uint8]]:
    """The frames of a clip before compression: uint8 [H, W, 3]."""
    world, drive = _world(plan.world_seed, plan.n_cities), drive_of(plan)
    conditions = draw_conditions(np.random.default_rng([plan.world_seed, 6, plan.number]))
    for time_s, latlon_deg, heading_deg in zip(drive.time_s, drive.latlon_deg, drive.heading_deg, strict=True):
        yield world.render(latlon_deg, float(heading_deg), conditions=conditions, time_s=float(time_s), size=plan.size)


def _render_clip(folder: Path, plan: ClipPlan) -> ClipPlan:
    """Write a clip's GPX, then its video: where there is a video, the clip is complete."""
    path, start = clip_path(folder, plan), FIRST_DAY + timedelta(hours=7 * plan.number)
    write_output(path.with_suffix(".gpx"), gpx_text(plan.video_id, drive_of(plan), start, plan.rate_hz))
    quality = int(np.random.default_rng([plan.world_seed, 7, plan.number]).integers(22, 31))
    with atomic_write(path) as file, av.open(file, "w", format="mp4") as container:
        container.metadata["creation_time"] = format_utc(start)
        # One thread and a fixed preset: the same frames in, the same bytes out.
        stream = container.add_stream(
            "libx264", rate=round(plan.rate_hz), options={"preset": "veryfast", "crf": str(quality)}
        )
        stream.width, stream.height = plan.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for image in frames_of(plan):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return plan


def gpx_text(name: str, drive: Drive, start_utc: datetime, rate_hz: float) -> str:
    """GPX 1.1 with one point a second, and one for the last frame."""
    picks = sorted({*range(0, len(drive.time_s), round(rate_hz)), len(drive.time_s) - 1})
    points = "\n".join(
        f'<trkpt lat="{drive.latlon_deg[k, 0]:.7f}" lon="{drive.latlon_deg[k, 1]:.7f}">'
        f"<time>{format_utc(start_utc + timedelta(seconds=float(drive.time_s[k])))}</time></trkpt>"
        for k in picks
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<gpx version="1.1" creator="vgeo world" xmlns="http://www.topografix.com/GPX/1/1">\n'
        f"<trk><name>{name}</name><trkseg>\n{points}\n</trkseg></trk>\n</gpx>\n"
    )


def _table(folder: Path, plans: Sequence[ClipPlan], world: World) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for plan in plans:
        city = world.city(plan.city)
        path = clip_path(folder, plan).relative_to(folder).as_posix()
        writer.writerow((plan.video_id, path, city.name, city.state, city.country, city.continent, plan.split))
    return text.getvalue()


def make_tiles(
    folder: Path, world: World, latlon_deg: NDArray[np.float64], *, zoom: int = ZOOM, size_px: int = 256
) -> list[Path]:
    """Write the aerial tiles under positions [N, 2] as `x_y.png` (GAMa's naming) and return their paths."""
    make_folder(folder)
    tiles = sorted({tile_of(position, zoom) for position in latlon_deg})
    paths = [folder / f"{x}_{y}.png" for x, y in tiles]
    for (x, y), path in zip(tiles, paths, strict=True):
        if not path.exists():
            with atomic_write(path) as file:
                Image.fromarray(world.render_tile(x, y, zoom, size_px)).save(file, format="PNG")
    return paths
