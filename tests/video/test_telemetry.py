"""GoPro telemetry against independent decoders, and against hostile payloads."""

import csv
import random
import struct
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from vgeo.geo.sphere import distance_km
from vgeo.video import telemetry
from vgeo.video.telemetry import read_telemetry


def klv(key: str, kind: str, size: int, content: bytes) -> bytes:
    padding = bytes(-len(content) % 4)
    return struct.pack(">4scBH", key.encode(), kind.encode(), size, len(content) // size) + content + padding


def nest(key: str, *items: bytes) -> bytes:
    content = b"".join(items)
    return struct.pack(">4scBH", key.encode(), b"\0", 1, len(content)) + content


@pytest.mark.parametrize(("name", "samples"), [("hero5-trimmed", 36), ("hero6-trimmed", 36), ("max-heromode", 191)])
def test_gps5_equals_the_independent_decoding(name: str, samples: int, shared_dir: Path) -> None:
    folder = shared_dir / "data" / "gopro-gps-videos"
    with (folder / f"{name}.gps5.csv").open() as file:
        expected = np.array([[float(row["lat"]), float(row["lon"])] for row in csv.DictReader(file)])
    fixes, remark = read_telemetry(folder / f"{name}.mp4")
    assert fixes is not None and remark == ""
    assert len(fixes.time_s) == len(expected) == samples
    assert 1000 * distance_km(fixes.latlon_deg, expected).max() < 0.01
    steps = np.diff(fixes.time_s)
    assert fixes.time_s[0] == 0 and steps.min() > 0.02 and steps.max() < 0.1, "18 Hz"


def test_karma_equals_exiftool(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "gopro-gps-videos"
    rows = [line.rsplit(",", 2) for line in (folder / "karma.exiftool.csv").read_text().splitlines()]
    assert len(rows) == 12
    expected = np.array([[float(lat), float(lon)] for _, lat, lon in rows])
    fixes, _ = read_telemetry(folder / "karma.mp4")
    assert fixes is not None
    nearest_m = 1000 * distance_km(expected[:, None], fixes.latlon_deg[None]).min(axis=1)
    assert nearest_m.max() < 0.01
    assert (
        fixes.start_utc is not None
        and abs((fixes.start_utc - datetime(2017, 4, 17, 19, 27, 57, tzinfo=UTC)).total_seconds()) < 1
    )


def test_samples_without_a_fix_are_dropped(shared_dir: Path) -> None:
    fixes, remark = read_telemetry(shared_dir / "data" / "gopro-gps-videos" / "hero8-trimmed.mp4")
    assert fixes is None
    assert remark.startswith("36 telemetry samples")


def test_a_video_without_telemetry(shared_dir: Path) -> None:
    assert read_telemetry(shared_dir / "data" / "opensfm-lund-walk" / "derived_lund_walk.mp4") == (None, "")


def gps9(*rows: tuple[int, ...]) -> bytes:
    content = b"".join(struct.pack(">7i2H", *row) for row in rows)
    scale = struct.pack(">9i", 10**7, 10**7, 1000, 1000, 100, 1, 1000, 100, 1)
    return nest(
        "DEVC",
        nest("STRM", klv("TYPE", "c", 1, b"lllllllSS"), klv("SCAL", "l", 4, scale), klv("GPS9", "?", 32, content)),
    )


def test_gps9_has_a_fix_for_each_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    day = (datetime(2023, 5, 4, tzinfo=UTC) - datetime(2000, 1, 1, tzinfo=UTC)).days
    payload = gps9(
        (481234567, 21234567, 50000, 1000, 100, day, 36_000_000, 150, 3),
        (420000000, -1290000000, 0, 0, 0, day, 36_100_000, 9999, 0),
        (481234667, 21234667, 50000, 1000, 100, day, 36_200_000, 150, 2),
        (0, 0, 0, 0, 0, day, 36_300_000, 150, 3),
    )
    monkeypatch.setattr(telemetry, "_payloads", lambda path: iter([(2.0, 1.0, payload)]))
    fixes, remark = read_telemetry(Path("any"), first_frame_s=0.5)
    assert fixes is not None and remark.startswith("2 telemetry samples")
    assert fixes.latlon_deg == pytest.approx(np.array([[48.1234567, 2.1234567], [48.1234667, 2.1234667]]))
    assert fixes.time_s == pytest.approx([1.5, 2.0])
    assert fixes.start_utc == datetime(2023, 5, 4, 9, 59, 58, 500000, tzinfo=UTC)


def test_a_clock_that_wakes_late_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first payloads carry the time of the last recording; the median of all payloads is the clip's."""
    day = (datetime(2023, 5, 4, tzinfo=UTC) - datetime(2000, 1, 1, tzinfo=UTC)).days
    sample = (481234567, 21234567, 50000, 1000, 100)
    payloads = [gps9((*sample, day - 3 * (second == 0), 36_000_000 + 1000 * second, 150, 3)) for second in range(5)]
    monkeypatch.setattr(telemetry, "_payloads", lambda path: ((float(i), 1.0, p) for i, p in enumerate(payloads)))
    fixes, _ = read_telemetry(Path("any"))
    assert fixes is not None and fixes.start_utc == datetime(2023, 5, 4, 10, tzinfo=UTC)
    assert fixes.time_s.tolist() == [0, 1, 2, 3, 4]


def test_hostile_payloads_raise_nothing(shared_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_dir / "data" / "gopro-gps-videos"
    payloads = [
        payload for name in ("karma", "hero5-trimmed") for _, _, payload in telemetry._payloads(folder / f"{name}.mp4")
    ]
    payloads.append(gps9((1, 2, 3, 4, 5, 2**31 - 1, 2**31 - 1, 8, 3)))
    rng = random.Random(0)
    for round_ in range(300):
        data = bytearray(rng.choice(payloads))
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if round_ % 3 == 0:
            data = data[: rng.randrange(len(data))]
        monkeypatch.setattr(telemetry, "_payloads", lambda path, data=data: iter([(0.0, 1.0, bytes(data))]))
        fixes, _ = read_telemetry(Path("any"))
        assert fixes is None or (np.abs(fixes.latlon_deg) <= [90, 180]).all()
    deep = b""
    for _ in range(200):
        deep = nest("STRM", deep)
    monkeypatch.setattr(telemetry, "_payloads", lambda path: iter([(0.0, 1.0, deep)]))
    assert read_telemetry(Path("any"))[0] is None
