"""The picture and the page: complete, legible to a parser, harmless, and asking no server for anything."""

import dataclasses
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgeo.errors import InputError
from vgeo.geo import sphere
from vgeo.records import Localization, PlaceLabels, PlaceVote, PlaceVotes, Track
from vgeo.reports.joining import clusters, truth_at
from vgeo.reports.map import write_map
from vgeo.reports.plots import distance_text, nice_length, plot_tracks

START = datetime(2024, 6, 1, 8, tzinfo=UTC)
NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def clip(name: str, lat: float, lon: float, shift_deg: float = 0.001) -> tuple[Localization, Track]:
    time_s = np.arange(6.0)
    truth = np.stack([lat + time_s * 1e-4, (lon + time_s * 1e-4 + 180) % 360 - 180], axis=-1)
    said = truth + np.array([shift_deg, 0])
    return (
        Localization(
            track=Track(video_id=name, latlon_deg=said, time_s=time_s, start_utc=START, frame_index=np.arange(6) * 10),
            method="nearest",
            confidence=np.linspace(0, 1, 6),
            radius_km=np.full(6, 0.3),
            candidates_deg=np.stack([said, said + 0.01], axis=1),
            candidate_scores=np.tile([0.6, 0.2], (6, 1)),
            places=(NASTY,) * 6,
        ),
        Track(video_id=name, latlon_deg=truth, time_s=time_s, start_utc=START),
    )


class Page(HTMLParser):
    """Tags, links and the data of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


def test_the_page_tells_the_clips_city(tmp_path: Path) -> None:
    said, _ = clip("a", 38.71, -9.14)
    ranked = [("Lisbon", "Lisbon", "Portugal", 0.8), (NASTY, "", "Peru", 0.2)]
    cities = tuple(
        PlaceVote(labels=PlaceLabels(city=city, state=state, country=country), share=share, probability=share)
        for city, state, country, share in ranked
    )
    voted = dataclasses.replace(said, votes=PlaceVotes(rule="majority", ranking=(cities, (), (), ())))
    write_map(tmp_path / "map.html", [voted, said])
    page = Page((tmp_path / "map.html").read_text(encoding="utf-8"))
    clips = json.loads(page.scripts[0])["clips"]
    assert [one["city"] for one in clips] == [f"Lisbon, Portugal (80% of frames); {NASTY}, Peru (20% of frames)", None]


def test_page_is_self_contained_and_safe(tmp_path: Path) -> None:
    pairs = [clip(NASTY, 38.71, -9.14), clip("b & c", 34.69, 135.5)]
    out = tmp_path / "map.html"
    write_map(out, [said for said, _ in pairs], [truth for _, truth in pairs], title=NASTY)
    text = out.read_text(encoding="utf-8")
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text, re.IGNORECASE)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|innerHTML|eval\(|document\.write", text)
    page = Page(text)
    assert page.links == [] and "img" not in page.tags and page.tags.count("script") == 2
    data = json.loads(page.scripts[0])
    assert data["title"] == NASTY and [one["id"] for one in data["clips"]] == [NASTY, "b & c"]


def test_page_holds_errors_times_and_candidates(tmp_path: Path) -> None:
    said, truth = clip("a", 10, 20)
    other, _ = clip("without truth", 10, 20)
    write_map(tmp_path / "map.html", [said, other], [truth])
    known, unknown = json.loads(Page((tmp_path / "map.html").read_text()).scripts[0])["clips"]
    assert known["error_km"] == pytest.approx([0.001 * sphere.KM_PER_DEG] * 6, abs=1e-4)
    assert known["utc"][2] == "2024-06-01T08:00:02.000Z" and known["frame"][2] == 20 and known["time_s"][2] == 2
    assert known["at"][0] == [10.001, 20.0] and known["true"][0] == [10.0, 20.0]
    assert len(known["candidates"][0]) == 2 and known["scores"][0] == [0.6, 0.2]
    assert unknown["true"] == [None] * 6 and unknown["error_km"] == [None] * 6


def test_no_line_crosses_the_map_at_the_antimeridian(tmp_path: Path) -> None:
    said, truth = clip("date line", -17, 179.9998)
    write_map(tmp_path / "map.html", [said], [truth])
    data = json.loads(Page((tmp_path / "map.html").read_text()).scripts[0])["clips"][0]
    for name in ("at", "true"):
        lons = [lon for _, lon in data[name]]
        assert max(lons) - min(lons) < 0.01
    assert {round(lon % 360 / 180) for _, lon in data["at"]} == {1}


@pytest.mark.parametrize("with_truth", [True, False])
def test_picture_is_not_empty(tmp_path: Path, with_truth: bool) -> None:
    pairs = [clip("a", 38.71, -9.14), clip("b", 34.69, 135.5), clip("c", 34.70, 135.5)]
    out = tmp_path / "tracks.png"
    truth = [truth for _, truth in pairs] if with_truth else []
    plot_tracks([said for said, _ in pairs], truth, out, reference=[pairs[0][1]])
    pixels = np.asarray(Image.open(out).convert("RGB")).reshape(-1, 3)
    assert Image.open(out).width > Image.open(out).height > 300

    def painted(colour: tuple[int, int, int]) -> int:
        return int((np.abs(pixels.astype(int) - colour).max(axis=1) < 12).sum())

    assert painted((0xD5, 0x5E, 0x00)) > 50  # predictions
    assert (painted((0x00, 0x72, 0xB2)) > 200) == with_truth


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    for draw in (lambda path: plot_tracks([], [], path), lambda path: write_map(path, [])):
        with pytest.raises(InputError, match="no predictions"):
            draw(tmp_path / "none")


def test_truth_joins_by_clock_then_by_time() -> None:
    said, truth = clip("a", 10, 20)
    assert np.allclose(truth_at(said, [truth]), truth.latlon_deg)
    late = Track(
        video_id="a",
        latlon_deg=truth.latlon_deg,
        time_s=truth.time_s,
        start_utc=START.replace(second=2),
    )
    found = truth_at(said, [late], max_gap_s=0.5)
    assert np.isnan(found[:2]).all() and np.allclose(found[2:], truth.latlon_deg[:4])
    assert np.isnan(truth_at(said, [Track(video_id="other", latlon_deg=truth.latlon_deg)])).all()


def test_clusters_chain() -> None:
    line = np.array([[0.0, 0.0], [0.0, 0.2], [50.0, 0.0], [0.0, 0.4]])
    assert clusters(line, within_km=25) == [[0, 1, 3], [2]]


def test_words_for_distances() -> None:
    assert [distance_text(km) for km in (0.0434, 1.24, 8642.0)] == ["43 m", "1.2 km", "8,642 km"]
    assert [nice_length(x) for x in (7.0, 99.0, 0.21)] == pytest.approx([5.0, 50.0, 0.2])


def test_a_picture_by_clip_has_a_panel_for_each(tmp_path: Path) -> None:
    pairs = [clip("a", 38.71, -9.14), clip("b", 34.69, 135.5), clip("c", 34.70, 135.5)]
    said, truth = [said for said, _ in pairs], [truth for _, truth in pairs]
    widths = []
    for by_clip in (False, True):
        plot_tracks(said, truth, tmp_path / f"{by_clip}.png", by_clip=by_clip)
        widths.append(Image.open(tmp_path / f"{by_clip}.png").width)
    assert widths[1] / widths[0] == pytest.approx(3 / 2, rel=0.1)  # b and c share a place
