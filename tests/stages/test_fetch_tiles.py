"""Tiles from a server that serves, limits, fails and lies."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

import pytest
from tileserver import PNG, Ask, Say, Server, picture, serving

from vgeo import __version__
from vgeo.errors import BusyError, FormatError, OutputError, ServerError, SettingError, UsageError
from vgeo.formats.tile_folder import TileFolder
from vgeo.formats.tile_template import TileTemplate
from vgeo.records import Outcome
from vgeo.stages.fetch_tiles import GIVE_UP, TilePlan, fetch_tiles, plan_tiles
from vgeo.stages.tile_server import Manners

QUICK = Manners(rate_hz=1000, backoff_s=0.01, timeout_s=2)
BOX = (0.0106, 0.0106, 0.01194, 0.01194)  # degrees; 3 x 3 tiles at zoom 19, and 5 x 5 with 60 m around
ONE = (0.0106, 0.0106, 0.0107, 0.0107)  # one of them
Answer = Callable[[Ask], Say | bytes]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def plan_for(server: Server, out: Path, **change: object) -> TilePlan:
    options: dict[str, object] = {"zoom": 19, "bbox": BOX, "across": 0} | change
    template = TileTemplate(str(options.pop("template", server.template)))
    attribution = str(options.pop("attribution", "(c) Test"))
    return plan_tiles(template, [], out, attribution, **options)  # type: ignore[arg-type]


def fetch(answer: Answer, out: Path, manners: Manners = QUICK, **change: object) -> tuple[list[Outcome], Server]:
    with serving(answer) as server:
        return fetch_tiles(plan_for(server, out, **change), manners), server


def files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.name != ".lock")


def of_third(say: Say) -> Answer:
    seen: list[str] = []

    def answer(ask: Ask) -> Say | bytes:
        if ask.path not in seen:
            seen.append(ask.path)
        return say if seen.index(ask.path) == 2 else PNG

    return answer


def test_tiles_lie_under_xyz_with_their_source(tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    outcomes, server = fetch(lambda ask: PNG, out)
    assert len(outcomes) == 9 and {outcome.status for outcome in outcomes} == {"done"}
    # 2^19 tiles round the Earth: 0.0106 degrees are 15.4 of them and 0.01194 are 17.4, from the equator and Greenwich.
    expected = {f"19/{262144 + east}/{262143 - north}.png" for east in range(15, 18) for north in range(15, 18)}
    assert set(files(out)) == expected | {"tiles.json"}
    assert (out / "19/262159/262128.png").read_bytes() == PNG
    said = json.loads((out / "tiles.json").read_text())
    assert said["tilejson"] == "3.0.0" and said["attribution"] == "(c) Test" and said["tiles"] == [server.template]
    assert said["minzoom"] == said["maxzoom"] == 19
    west, south, east, north = said["bounds"]
    assert west <= 0.0106 and south <= 0.0106 and east >= 0.01194 and north >= 0.01194 and east - west < 0.004
    assert server.asked[0].agent == f"vgeo/{__version__}"


def test_pauses_grow_where_the_server_names_none(tmp_path: Path) -> None:
    """Half to one and a half times 0.1, 0.2 and 0.4 s."""
    manners = Manners(rate_hz=1000, backoff_s=0.1, retries=3)
    (outcome,), server = fetch(lambda ask: PNG if ask.turn == 3 else Say(b"", 500), tmp_path, manners, bbox=ONE)
    assert outcome.status == "done"
    pauses = [b.at_s - a.at_s for a, b in pairwise(server.asked)]
    assert len(pauses) == 3 and all(pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=True))


def test_nothing_is_asked_for_twice(tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    with serving(lambda ask: PNG) as server:
        fetch_tiles(plan_for(server, out), QUICK)
        before = len(server.asked)
        again = fetch_tiles(plan_for(server, out), QUICK)
        assert len(server.asked) == before == len(set(server.paths))
        assert {outcome.status for outcome in again} == {"skipped"}
        fetch_tiles(plan_for(server, out, margin_m=60.0), QUICK)
        assert len(server.asked) == len(set(server.paths)) == 25  # a ring of 16 around


def test_rate_holds_for_all_workers_together(tmp_path: Path) -> None:
    manners = Manners(rate_hz=20, workers=4, contact="me@example.org")
    _, server = fetch(lambda ask: Say(silent_s=0.1), tmp_path / "tiles", manners)
    starts = [ask.at_s for ask in server.asked]
    assert starts[-1] - starts[0] >= 8 / 20 * 0.95
    assert starts[-1] - starts[0] < 0.85  # one after the other would take 0.9 s
    assert 1 < len({ask.peer for ask in server.asked}) <= 4
    assert server.asked[0].agent.endswith("(me@example.org)")


def test_one_worker_is_one_connection(tmp_path: Path) -> None:
    _, server = fetch(lambda ask: PNG, tmp_path / "tiles")
    assert len({ask.peer for ask in server.asked}) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_waited_for_by_all_workers(status: int, tmp_path: Path) -> None:
    wait = Say(b"slow down", status, "text/plain", {"Retry-After": "1"})
    manners = Manners(rate_hz=1000, backoff_s=0.01, workers=3)
    seen: list[str] = []

    def answer(ask: Ask) -> Say | bytes:
        seen.append(ask.path)
        return wait if len(seen) <= 3 else PNG

    outcomes, server = fetch(answer, tmp_path / "tiles", manners)
    assert {outcome.status for outcome in outcomes} == {"done"}
    starts = [ask.at_s for ask in server.asked]
    assert starts[3] - starts[2] >= 0.95 and max(b - a for a, b in pairwise(starts[3:])) < 0.5


def test_retry_after_as_a_date(tmp_path: Path) -> None:
    def answer(ask: Ask) -> Say | bytes:
        if ask.turn == 0 and ask.path.endswith("262159/262128.png"):
            date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
            return Say(b"", 429, headers={"Retry-After": date})
        return PNG

    outcomes, server = fetch(answer, tmp_path / "tiles")
    assert {outcome.status for outcome in outcomes} == {"done"}
    one = [ask.at_s for ask in server.asked if ask.path.endswith("262159/262128.png")]
    assert 0.9 <= one[1] - one[0] <= 2.5  # dates have whole seconds


def test_a_server_that_asks_for_an_hour_is_left_alone(tmp_path: Path) -> None:
    with serving(lambda ask: Say(b"", 429, headers={"Retry-After": "3600"})) as server:
        with pytest.raises(BusyError, match=r"come again in 3600 s .*429"):
            fetch_tiles(plan_for(server, tmp_path / "tiles"), QUICK)
        assert len(server.asked) == 1


@pytest.mark.parametrize("value", ["soon", "-5", "1e9", "", "Fri, 99 Foo 2020"])
def test_a_senseless_retry_after_counts_as_none(value: str, tmp_path: Path) -> None:
    late = Say(b"", 429, headers={"Retry-After": value})
    outcomes, _ = fetch(lambda ask: late if ask.turn == 0 else PNG, tmp_path / "tiles")
    assert {outcome.status for outcome in outcomes} == {"done"}


PASSING = {
    "500": Say(b"oops", 500),
    "502": Say(b"oops", 502),
    "reset": Say(reset=True),
    "too short": Say(PNG[:500], length=len(PNG)),
    "timeout": Say(silent_s=0.6),
    "drip": Say(drip_s=0.05),
    "dripping headers": Say(drip_s=0.05, drip_head=True),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_tried_again(name: str, tmp_path: Path) -> None:
    bad = PASSING[name]
    manners = Manners(rate_hz=1000, backoff_s=0.01, timeout_s=0.3)
    sick = "262159/262128.png"
    outcomes, server = fetch(
        lambda ask: bad if ask.path.endswith(sick) and ask.turn < 2 else PNG, tmp_path / "tiles", manners
    )
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert sum(path.endswith(sick) for path in server.paths) == 3 and len(server.asked) == 11


@pytest.mark.parametrize("name", PASSING)
def test_what_lasts_is_given_up_and_the_others_are_fetched(name: str, tmp_path: Path) -> None:
    manners = Manners(rate_hz=1000, backoff_s=0.01, timeout_s=0.2, retries=1)
    outcomes, server = fetch(of_third(PASSING[name]), tmp_path / "tiles", manners)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    assert len(failed) == 1 and failed[0].exit_code == 69 and "given up after 2 attempts" in failed[0].message
    assert "tile 19/" in failed[0].message and "127.0.0.1" not in failed[0].message
    assert len(server.asked) == 10 and len(files(tmp_path / "tiles")) == 9


LIES = {
    "web page": (Say(b"<!doctype html><title>Sign in</title>"), 65, "web page"),
    "json": (Say(b'{"error": "quota"}'), 65, r"JSON .*quota"),
    "empty": (Say(b""), 65, "empty answer"),
    "noise": (Say(b"\x00\x01\x02" * 50), 65, "150 bytes of something else"),
    "small": (Say(picture(size=(1, 1))), 65, "1 x 1 pixels, not 256; see --size-px"),
    "retina": (Say(picture("JPEG", (512, 512))), 65, "512 x 512 pixels"),
    "oblong": (Say(picture(size=(256, 255))), 65, "256 x 255"),
    "cut": (Say(PNG[:-200]), 65, "damaged or cut"),
    "without its end": (Say(PNG[:-12]), 65, "damaged or cut"),
    "half a JPEG": (Say(picture("JPEG")[:700], type="image/jpeg"), 65, "damaged or cut"),
    "bomb": (Say(picture(size=(20000, 16))), 65, "20000 x 16"),
    "gif": (Say(picture("GIF")), 65, "something else"),
    "gone": (Say(PNG, 404), 66, "404 Not Found: there is no such tile"),
    "no content": (Say(b"", 204), 66, "there is no such tile"),
    "bad request": (Say(PNG, 400), 69, "says 400"),
    "partial": (Say(PNG, 206), 69, "says 206"),
    "too much": (Say(b"0" * 9_000_000), 65, "more than 8 MB"),
    "endless": (Say(b"5\r\nabcde\r\n" * 2_000_000, headers={"Transfer-Encoding": "chunked"}), 65, "more than 8 MB"),
    "no gzip": (Say(PNG, headers={"Content-Encoding": "gzip"}), 65, "cannot be decoded"),
    "elsewhere": (Say(b"", 302, headers={"Location": "http://localhost:1/a.png"}), 69, r"redirected to localhost:1;"),
    "to a file": (Say(b"", 302, headers={"Location": "file:///etc/passwd"}), 69, "not followed"),
}


@pytest.mark.parametrize("name", LIES)
def test_what_is_no_tile_is_not_stored(name: str, tmp_path: Path) -> None:
    say, code, message = LIES[name]
    out = tmp_path / "tiles"
    outcomes, server = fetch(of_third(say), out)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    assert [outcome.exit_code for outcome in failed] == [code]
    assert re.search(message, failed[0].message), failed[0].message
    assert len(server.asked) == 9  # a lie is not tried again in the same run
    assert len(files(out)) == 9 and not list(out.rglob("*.partial"))
    z, x, y = failed[0].input.split("/")
    assert not list((out / z / x).glob(f"{y}.*"))


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("WEBP", "webp")])
def test_a_picture_is_named_by_what_it_is(kind: str, suffix: str, tmp_path: Path) -> None:
    fetch(lambda ask: Say(picture(kind), type="image/png"), tmp_path / "tiles")
    assert all(name.endswith(suffix) for name in files(tmp_path / "tiles") if name != "tiles.json")
    with serving(lambda ask: PNG) as server:
        template = json.loads((tmp_path / "tiles" / "tiles.json").read_text())["tiles"][0]
        plan = plan_for(server, tmp_path / "tiles", template=template)
    assert plan.missing == []


def test_redirects_on_the_same_host_are_followed(tmp_path: Path) -> None:
    def answer(ask: Ask) -> Say | bytes:
        return PNG if ask.path.startswith("/cdn") else Say(b"", 301, headers={"Location": "/cdn" + ask.path})

    outcomes, server = fetch(answer, tmp_path / "tiles")
    assert {outcome.status for outcome in outcomes} == {"done"} and len(server.asked) == 18


def test_redirects_elsewhere_are_followed_when_told(tmp_path: Path) -> None:
    with serving(lambda ask: PNG) as other:

        def answer(ask: Ask) -> Say | bytes:
            return Say(b"", 302, headers={"Location": f"http://localhost:{other.port}{ask.path}"})

        fetch(answer, tmp_path / "tiles", Manners(rate_hz=1000, follow=True))
        assert len(other.asked) == 9


def test_redirects_in_a_circle_end(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"10 tiles in a row failed.*more than 5 redirects"):
        fetch(lambda ask: Say(b"", 302, headers={"Location": ask.path}), tmp_path / "tiles", margin_m=60.0)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_ends_the_run_at_once(status: int, tmp_path: Path) -> None:
    def answer(ask: Ask) -> Say | bytes:
        return Say(b"no", status) if len(server.asked) > 3 else PNG

    with serving(answer) as server:
        with pytest.raises(SettingError, match=f"says {status} .*stopped; is the key right"):
            fetch_tiles(plan_for(server, tmp_path / "tiles"), QUICK)
        assert len(server.asked) == 4
    assert len(files(tmp_path / "tiles")) == 4


def test_a_server_that_lies_all_the_time_is_left_alone(tmp_path: Path) -> None:
    with serving(lambda ask: Say(b"<html>")) as server:
        with pytest.raises(ServerError, match=r"10 tiles in a row failed, the last by this: .*web page"):
            fetch_tiles(plan_for(server, tmp_path / "tiles", margin_m=100.0), QUICK)
        assert len(server.asked) == GIVE_UP


def test_tiles_that_are_not_there_are_no_reason_to_stop(tmp_path: Path) -> None:
    outcomes, server = fetch(lambda ask: Say(b"", 404), tmp_path / "tiles", margin_m=60.0)
    assert len(server.asked) == len(outcomes) == 25


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with serving(lambda ask: PNG) as server:
        plan = plan_for(server, tmp_path / "tiles")
    with pytest.raises(ServerError, match="the server cannot be reached: no answer"):
        fetch_tiles(plan, Manners(rate_hz=1000, backoff_s=0.01, retries=2))


def test_report_has_a_line_for_each_tile(tmp_path: Path) -> None:
    with serving(of_third(Say(b""))) as server:
        fetch_tiles(plan_for(server, tmp_path / "tiles"), QUICK, report=tmp_path / "report.jsonl")
        fetch_tiles(plan_for(server, tmp_path / "tiles"), QUICK, report=tmp_path / "again.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert sorted(line["status"] for line in lines) == ["done"] * 8 + ["failed"]
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert sorted(line["status"] for line in again) == ["failed"] + ["skipped"] * 8


def test_one_picture_everywhere_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fetch(lambda ask: PNG, tmp_path / "tiles", margin_m=60.0)
    assert "25 tiles are one and the same picture" in caplog.text
    caplog.clear()
    fetch(lambda ask: picture(seed=int(ask.path[-5])), tmp_path / "other", margin_m=60.0)
    assert "same picture" not in caplog.text


def test_a_folder_keeps_one_source(tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    with serving(lambda ask: PNG) as server:
        fetch_tiles(plan_for(server, out), QUICK)
        for change in ({"attribution": "(c) Else"}, {"template": server.template + "?v=2"}, {"size_px": 512}):
            with pytest.raises(SettingError, match="was fetched with"):
                plan_for(server, out, **change)
        wider = plan_for(server, out, zoom=18)
        fetch_tiles(wider, QUICK)
    said = json.loads((out / "tiles.json").read_text())
    assert (said["minzoom"], said["maxzoom"]) == (18, 19)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"holds thesis.tex and no tiles.json"):
        plan_for(server, tmp_path / "other")


def test_two_at_a_time_are_refused(tmp_path: Path) -> None:
    with serving(lambda ask: PNG) as server:
        plan = plan_for(server, tmp_path / "tiles")
        with (
            TileFolder(plan.out, plan.source, plan.zoom, plan.tiles),
            pytest.raises(BusyError, match="another process"),
        ):
            fetch_tiles(plan, QUICK)
        assert not server.asked


def test_more_than_allowed_is_refused_before_anything(tmp_path: Path) -> None:
    with serving(lambda ask: PNG) as server:
        with pytest.raises(UsageError, match="9 tiles are more than --max-tiles 8"):
            plan_for(server, tmp_path / "tiles", max_tiles=8)
        fetch_tiles(plan_for(server, tmp_path / "tiles"), QUICK)
        plan_for(server, tmp_path / "tiles", max_tiles=8)  # they are there
    with pytest.raises(UsageError, match="--attribution"):
        plan_for(server, tmp_path / "tiles", attribution=" ")


@pytest.mark.parametrize("text", ["[]", "{", '{"minzoom": "9"}'])
def test_a_damaged_description_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "tiles.json").write_text(text)
    with serving(lambda ask: PNG) as server, pytest.raises(FormatError, match=r"tiles\.json"):
        plan_for(server, tmp_path / "tiles")
