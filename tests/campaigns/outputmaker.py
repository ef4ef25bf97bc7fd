"""Makes results of localization such as writers have to survive: anywhere on Earth, of any length, called anything."""

from datetime import UTC, datetime, timedelta

import numpy as np

from vgeo.records import Floats, Localization, PlaceLabels, PlaceVote, PlaceVotes, Track

PLACES = (
    *("one point", "two equal points", "standing still", "a walk anywhere", "all over the globe", "north pole"),
    *("south pole", "over the pole", "east over ±180", "west over ±180", "to and fro over ±180", "on ±180"),
    *("from ±180", "onto ±180", "long steps", "tiny steps", "next to ±180", "around the pole", "on the equator"),
)
CLOCKS = ("no times", "seconds", "clock", "odd clock", "seconds after a break", "clock and a break", "equal times")
NAMES = (
    *("clip", "Zürich Straße", "北京 上海", "東京の車載", "서울 운전", "Москва", "القاهرة رحلة", "תל אביב", "दिल्ली"),
    *("ไทย", "ελληνικά", "emoji 🚗🗺️", "zero\u200bwidth", "e\u0301 apart", "a,b;c", 'say "hi"', "it's"),
    *("a<b>&c;&amp;]]>", "=1+1", "+49", "-rf", "@cmd", "'quoted", "100 % \\n \\", "two\nlines", "tab\there"),
    *("car\rriage", " space before", "space after ", "NaN", "null", "1e5", "007", "a/b/c", "../up", "{json}"),
    *("[1,2]", "\u2028line", "https://x/?a=1&b=2", "é" * 60, "bytes \udcff", "bell \x07"),
)


def localizations(count: int, seed: int = 0) -> list[tuple[str, Localization]]:
    """What each is about, and it: the same ones for the same seed, all kinds among the first twenty."""
    return [_localization(number, np.random.default_rng([seed, number])) for number in range(count)]


def _localization(number: int, random: np.random.Generator) -> tuple[str, Localization]:
    where, clock = PLACES[number % len(PLACES)], CLOCKS[number % len(CLOCKS)]
    frames = {"one point": 1, "two equal points": 2}.get(where) or _frames(number, random)
    spots = _positions(where, frames, random)
    track = Track(
        video_id=f"{NAMES[number % len(NAMES)]}{'' if number < len(NAMES) else f' {number}'}",
        latlon_deg=spots,
        time_s=_seconds(clock, frames, random),
        start_utc=_start(random, odd=clock == "odd clock") if "clock" in clock else None,
        frame_index=np.cumsum(random.integers(0, 60, frames)) if number % 4 else None,
    )
    k = int(random.choice([0, 1, 5, 20]))
    said = Localization(
        track=track,
        method=str(random.choice(["nearest", "geoclip", "m<&>\"'"])),
        confidence=_extremes(random, (frames,), [0, 1, 1e-12, 0.5, 1 - 1e-9, np.nan]),
        radius_km=_extremes(random, (frames,), [0, 1e-6, 1, 20037.5, np.inf, np.nan]),
        candidates_deg=_candidates(spots, k, random),
        candidate_scores=-np.sort(-_extremes(random, (frames, k), [0, 1, 1e-30, 0.25]), axis=1),
        places=tuple(str(name) for name in random.choice([*NAMES, ""], frames)) if number % 3 else (),
        source=f"clips/{NAMES[-number % len(NAMES)]}.mp4",
        votes=_votes(random) if number % 5 == 0 else None,
    )
    return f"{where}, {clock}", said


def _frames(number: int, random: np.random.Generator) -> int:
    """1 to 500 of them, most clips short, as they are; 500 now and then."""
    return 500 if number % 97 == 50 else int(np.clip(np.round(random.lognormal(2.5, 1)), 2, 500))


def _positions(where: str, n: int, random: np.random.Generator) -> Floats:  # noqa: PLR0912  # one branch a kind
    steps, sign = np.arange(n), random.choice([-1.0, 1.0])
    lat, lon = np.full(n, random.uniform(-89, 89)), np.full(n, random.uniform(-180, 180))
    stride = random.choice([1e-6, 1e-4, 1e-2, 1.0])
    if where == "a walk anywhere":
        lat, lon = lat + stride * random.normal(size=n).cumsum(), lon + stride * random.normal(size=n).cumsum()
    elif where == "all over the globe":
        lat, lon = np.degrees(np.arcsin(random.uniform(-1, 1, n))), random.uniform(-180, 180, n)
    elif where in ("north pole", "south pole"):
        lat = (90 if where[0] == "n" else -90) * np.ones(n)
        lon = random.choice([0.0, 180.0, -180.0, 37.5], n)
    elif where == "over the pole":  # the longitude leaps by 180 degrees on its highest point
        lat, lon = sign * (90 - 1e-3 * np.abs(steps - n // 2)), np.where(steps < n // 2, 10.0, -170.0)
    elif where == "around the pole":
        lat, lon = sign * np.full(n, 89.9999999), 53.0 * steps
    elif where in ("east over ±180", "west over ±180"):
        way = 1 if where[0] == "e" else -1
        lat, lon = lat + 1e-3 * steps, 180 + way * stride * (steps - random.uniform(0, n))
    elif where == "to and fro over ±180":
        lat, lon = lat + 1e-4 * steps, 180 + stride * random.choice([-1.0, 1.0, 0.0, 0.3], n)
    elif where == "on ±180":
        lat, lon = lat + 1e-4 * steps * random.integers(0, 2), random.choice([-180.0, 180.0], n)
    elif where in ("from ±180", "onto ±180"):
        stays = np.maximum(0, steps - int(random.integers(0, n)))
        lon = 180 + sign * stride * (stays if where[0] == "f" else stays[::-1])
    elif where == "long steps":
        lat, lon = random.uniform(-90, 90, n), random.choice([-179.0, -90.0, 0.0, 90.0, 179.0, 180.0], n)
    elif where == "tiny steps":
        lat, lon = lat + 1e-8 * steps, lon + 1e-8 * steps
    elif where == "next to ±180":
        lon = random.choice([179.99999994, 179.99999996, 179.9999999, -179.99999996, -180.0], n)
    elif where == "on the equator":
        lat, lon = random.choice([0.0, -0.0, -1e-9, 1e-9], n), random.choice([0.0, -0.0, -1e-9], n)
    return np.stack([np.clip(lat, -90, 90), (lon + 180) % 360 - 180], axis=1)


def _seconds(clock: str, n: int, random: np.random.Generator) -> Floats | None:
    if clock == "no times":
        return None
    if clock == "equal times":
        return np.repeat(random.uniform(0, 9), n)
    rate = float(random.choice([1, 1 / 3, 24000 / 1001, 30, 240, 0.01]))
    begin = random.uniform(0, 7200) if "break" in clock else 0.0
    return np.asarray(begin + np.arange(n) / rate, np.float64)


def _start(random: np.random.Generator, odd: bool) -> datetime:
    start = datetime(1970, 1, 2, tzinfo=UTC) + timedelta(seconds=int(random.integers(0, 4_000_000_000)))
    micro = int(random.choice([1, 499, 500, 999_500, 999_999, 123_456]))
    return start + timedelta(microseconds=micro * odd)


def _extremes(random: np.random.Generator, shape: tuple[int, ...], values: list[float]) -> Floats:
    return np.where(random.random(shape) < 0.5, random.choice(values, shape), random.random(shape))


def _candidates(spots: Floats, k: int, random: np.random.Generator) -> Floats:
    found = spots[:, None] + random.normal(0, 1e-2, (len(spots), k, 2))
    corners = np.array([[90, 180], [-90, -180], [0, 180], [0, 0], [90, 179.99999999]], np.float64)
    found = np.where(random.random((len(spots), k, 1)) < 0.2, random.choice(corners, (len(spots), k)), found)
    return np.stack([np.clip(found[..., 0], -90, 90), found[..., 1]], axis=-1)


def _votes(random: np.random.Generator) -> PlaceVotes:
    names = [str(name) for name in random.choice(NAMES, 4)]
    labels = PlaceLabels(city=names[0], state=names[1], country=names[2], continent=names[3])
    vote = PlaceVote(labels=labels, share=1.0, probability=float(random.random()))
    runner = PlaceVote(labels=PlaceLabels(city=names[3]), share=0.0, probability=1e-12)
    return PlaceVotes(rule="majority", ranking=((vote, runner), (), (vote,), ()))
