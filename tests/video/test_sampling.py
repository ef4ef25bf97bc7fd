"""Sampling against its definition, worked out moment by moment."""

import math

import numpy as np
import pytest

from vgeo.errors import UsageError
from vgeo.geo.sphere import path_length_km
from vgeo.video.sampling import EPSILON_S, Sampling


def on_screen(time_s: np.ndarray, moment_s: float) -> int:
    """The last frame whose time is not after the moment."""
    shown = [row for row, start in enumerate(time_s) if start <= moment_s + EPSILON_S]
    return shown[-1] if shown else 0


def by_definition(time_s: np.ndarray, duration_s: float, origin_s: float, period_s: float, end_s: float) -> list[int]:
    rows: list[int] = []
    tick = 0
    while (moment_s := origin_s + tick * period_s) < min(end_s, duration_s) - EPSILON_S:
        row = on_screen(time_s, moment_s)
        if row not in rows:
            rows.append(row)
        tick += 1
    return rows


TABLES = {
    "30 fps": (np.arange(300) / 30, 10.0),
    "29.97 fps": (np.arange(300) * 1001 / 30000, 300 * 1001 / 30000),
    "in milliseconds": (np.round(np.arange(300) / 30, 3), 10.0),
    "one frame": (np.zeros(1), 0.04),
}
_VFR = np.concatenate([[0.0], np.cumsum(np.random.default_rng(5).uniform(0.004, 2.0, 80))])
TABLES["variable"] = (_VFR, float(_VFR[-1]) + 0.5)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("rate_hz", [0.3, 1.0, 3.7, 30.0])
@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, None), (1.25, 7.5), (500.0, None)])
def test_rate(table: str, rate_hz: float, start_s: float, end_s: float | None) -> None:
    time_s, duration_s = TABLES[table]
    got = Sampling(rate_hz=rate_hz, start_s=start_s, end_s=end_s).rows(time_s, duration_s).tolist()
    expected = by_definition(time_s, duration_s, start_s, 1 / rate_hz, math.inf if end_s is None else end_s)
    assert got == expected
    assert got == Sampling(every_s=1 / rate_hz, start_s=start_s, end_s=end_s).rows(time_s, duration_s).tolist()


def test_containers_agree() -> None:
    exact, rounded = TABLES["30 fps"], TABLES["in milliseconds"]
    for rate_hz in (1, 3, 7, 30):
        assert np.array_equal(Sampling(rate_hz=rate_hz).rows(*exact), Sampling(rate_hz=rate_hz).rows(*rounded))


def test_count_takes_the_middles_of_equal_parts() -> None:
    time_s, duration_s = TABLES["30 fps"]
    rows = Sampling(count=4).rows(time_s, duration_s)
    assert rows.tolist() == [37, 112, 187, 262]  # 1.25, 3.75, 6.25 and 8.75 s
    assert len(Sampling(count=1000).rows(time_s, duration_s)) == 300
    assert Sampling(count=2, start_s=4, end_s=6).rows(time_s, duration_s).tolist() == [135, 165]


def test_stride_and_window() -> None:
    time_s, duration_s = TABLES["30 fps"]
    assert Sampling(stride=50).rows(time_s, duration_s).tolist() == [0, 50, 100, 150, 200, 250]
    assert Sampling(stride=2, start_s=1, end_s=1.2).rows(time_s, duration_s).tolist() == [30, 32, 34]


def test_absurd_rates_cost_nothing() -> None:
    time_s, duration_s = TABLES["30 fps"]
    assert len(Sampling(rate_hz=1e15).rows(time_s, duration_s)) == 300
    assert Sampling(every_s=1e15).rows(time_s, duration_s).tolist() == [0]


def test_images_are_taken_whole_unless_asked() -> None:
    time_s = np.arange(20) / 4
    assert len(Sampling().rows(time_s, 5.0)) == 5
    assert len(Sampling().rows(time_s, 5.0, take_all=True)) == 20
    assert len(Sampling(rate_hz=1).rows(time_s, 5.0, take_all=True)) == 5


def test_every_m_follows_the_path() -> None:
    time_s, duration_s = TABLES["30 fps"]
    track_s = np.linspace(0, 10, 11)
    metres = np.array([0, 1, 3, 3, 3, 3, 8, 10, 14, 15, 20.0])  # stands still from 2 to 5 s
    latlon_deg = np.stack([metres / 111195.08, np.zeros(11)], axis=1)
    rows = Sampling(every_m=2.5).rows(time_s, duration_s, track=(track_s, latlon_deg))
    moments = np.interp(np.arange(0, 20, 2.5), metres + np.arange(11) * 1e-9, track_s)
    assert np.abs(rows - [on_screen(time_s, moment) for moment in moments]).max() <= 1
    travelled = np.interp(time_s[rows], track_s, 1000 * path_length_km(latlon_deg))
    assert travelled == pytest.approx(np.arange(0, 20, 2.5), abs=0.2)
    late = Sampling(every_m=2.5, start_s=6).rows(time_s, duration_s, track=(track_s, latlon_deg))
    assert late[0] == 180 and len(late) == 5, "metres are counted from the window's start"
    with pytest.raises(UsageError, match="--track"):
        Sampling(every_m=2.5).rows(time_s, duration_s)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rate_hz": 1, "count": 3}, "--rate-hz and --count"),
        ({"rate_hz": 0}, "--rate-hz 0"),
        ({"every_m": math.nan}, "--every-m"),
        ({"start_s": 5, "end_s": 5}, "--end-s"),
        ({"start_s": math.inf}, "--start-s"),
    ],
)
def test_wrong_words(settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Sampling(**settings)


def test_describe_tells_settings_apart() -> None:
    every = [Sampling(), Sampling(rate_hz=1), Sampling(every_s=1), Sampling(count=1), Sampling(rate_hz=1, start_s=0.5)]
    assert len({sampling.describe() for sampling in every}) == len(every)
    assert Sampling(rate_hz=2, start_s=1, end_s=9.5).describe() == "rate_hz=2 start_s=1 end_s=9.5"
