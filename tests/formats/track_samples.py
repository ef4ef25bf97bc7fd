"""Localizations made up for the tests of tracks."""

from datetime import UTC, datetime, timedelta

import numpy as np

from vgeo.records import Localization, Track

START = datetime(2019, 11, 18, 23, 45, 14, tzinfo=UTC)


def localization(
    latlon_deg: object,
    video_id: str = "clip",
    time_s: object = "seconds",
    start_utc: datetime | None = None,
    places: tuple[str, ...] = (),
    candidates: int = 2,
) -> Localization:
    """One clip's result; one second a frame unless said otherwise."""
    positions = np.array(latlon_deg, np.float64).reshape(-1, 2)
    n = len(positions)
    seconds = np.arange(n, dtype=np.float64) if isinstance(time_s, str) else time_s
    track = Track(
        video_id=video_id,
        latlon_deg=positions,
        time_s=seconds,  # type: ignore[arg-type]
        start_utc=start_utc,
        frame_index=np.arange(n) * 30,
    )
    return Localization(
        track=track,
        method="nearest",
        confidence=np.linspace(0.1, 0.9, n),
        radius_km=np.linspace(1, 20, n),
        candidates_deg=np.repeat(positions[:, None], candidates, axis=1),
        candidate_scores=np.tile(np.linspace(0.5, 0.1, candidates), (n, 1)),
        places=places,
        source="clips/clip.mp4",
    )


def random_localizations(count: int, seed: int = 0) -> list[Localization]:
    """Tracks of 1 to 30 frames: everywhere, at the poles, across the antimeridian, with and without a clock."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(count):
        n = 1 if i % 7 == 0 else int(random.integers(2, 31))
        start = [random.uniform(-90, 90), random.uniform(-180, 180)]
        if i % 3 == 0:
            start[1] = random.choice([-180.0, 179.9999, 179.99999999])
        if i % 5 == 0:
            start[0] = random.choice([-90.0, 90.0, 89.9999])
        scale = random.choice([1e-5, 1e-3, 0.5])
        walk = np.array(start) + np.cumsum(random.normal(0, scale, (n, 2)), axis=0) * (np.arange(n) > 0)[:, None]
        walk[:, 0] = np.clip(walk[:, 0], -90, 90)
        walk[:, 1] = (walk[:, 1] + 180) % 360 - 180
        seconds = np.round(np.cumsum(random.uniform(0, 2, n)), 6)
        clock = START + timedelta(days=i) if i % 2 else None
        made.append(localization(walk, f"clip {i}", seconds, clock))
    return made
