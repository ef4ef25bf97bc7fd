"""`vgeo fetch-tiles` as it is typed: streams, exit codes, kills, and the key that stays secret."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tileserver import PNG, Ask, Say, Server, serving

from vgeo.cli import run
from vgeo.formats.gallery import read_gallery
from vgeo.formats.tile_pictures import tile_pictures

BOX = "0.0106,0.0106,0.01194,0.01194"  # 3 x 3 tiles at zoom 19
KEY = "hush-hush"


@pytest.fixture(autouse=True)
def _quiet_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("VGEO_TILES_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    yield


def words(server: Server, *more: str) -> list[str]:
    said = ["fetch-tiles", server.template, "--bbox", BOX, "--across", "0", "--attribution", "(c) Test"]
    return [*said, "--rate-hz", "1000", *more]


def pictures(out: Path) -> list[Path]:
    return sorted(out.glob("19/*/*.png"))


def test_fetches_and_says_what(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(lambda ask: PNG) as server:
        assert run(words(server)) == 0
        shown = capfd.readouterr()
        assert shown.out == "" and "tiles: 9 of 9 tiles fetched (0.0 MB), 0 were there; (c) Test\n" in shown.err
        assert len(pictures(Path("tiles"))) == 9
        assert run(words(server)) == 0 and len(server.asked) == 9
        assert "0 of 0 tiles fetched (0.0 MB), 9 were there" in capfd.readouterr().err


def test_a_dry_run_asks_nothing_and_makes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(lambda ask: PNG) as server:
        assert run([*words(server, "--dry-run"), "--rate-hz", "2"]) == 0
        assert json.loads(capfd.readouterr().out) == {"tiles": 9, "to_fetch": 9, "seconds": 4.5, "bytes": 180_000}
        assert not server.asked and not Path("tiles").exists()


def test_some_failed(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(lambda ask: Say(b"<html>") if ask.path.endswith("262159/262128.png") else PNG) as server:
        assert run(words(server, "--report", "report.jsonl")) == 3
    shown = capfd.readouterr()
    assert "tile 19/262159/262128: no picture but a web page or XML ('<html>')" in shown.err
    assert "1 of 9 inputs failed" in shown.err and shown.out == ""
    assert len(Path("report.jsonl").read_text().splitlines()) == 9


@pytest.mark.parametrize(("say", "code"), [(Say(b"", 403), 78), (Say(b"", 429, headers={"Retry-After": "9999"}), 75)])
def test_what_ends_the_run_is_one_clear_line(say: Say, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(lambda ask: say) as server:
        assert run(words(server)) == code
        assert len(server.asked) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1].startswith("vgeo: ") and str(say.status) in lines[-1] and "Traceback" not in "".join(lines)


def test_the_key_is_sent_and_written_nowhere(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VGEO_TILES_KEY", KEY)

    def answer(ask: Ask) -> Say | bytes:
        return Say(b"", 500) if ask.path.startswith("/19/262160/262127") else PNG

    with serving(answer) as server:
        template = server.template + "?key={key}"
        said = ["fetch-tiles", template, "--bbox", BOX, "--attribution", "(c)", "--rate-hz", "1000", "--retries", "0"]
        assert run(["-v", *said, "--report", "report.jsonl"]) == 3
        assert all(path.endswith(f"?key={KEY}") for path in server.paths)
        plain = words(server, "--out", "plain", "--retries", "0")
        assert run(plain) in (0, 3)  # a key in the environment is for other servers
        assert run([*plain, "--key", "x"]) == 2
    shown = capfd.readouterr()
    written = b"".join(path.read_bytes() for path in Path().rglob("*") if path.is_file())
    assert KEY.encode() not in written and KEY not in shown.err + shown.out
    assert json.loads(Path("tiles/tiles.json").read_text())["tiles"] == [template]


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (["--zoom", "30"], 2, "--zoom"),
        (["--rate-hz", "0"], 2, "--rate-hz 0"),
        (["--timeout-s", "nan"], 2, "--timeout-s"),
        (["--bbox", "1,2"], 2, "WEST,SOUTH,EAST,NORTH"),
        (["--max-tiles", "3"], 2, "more than --max-tiles 3"),
        (["missing.gpx"], 66, "missing.gpx: no such file"),
        (["--contact", "me\nHost: evil"], 2, "--contact"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(
    change: list[str], code: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda ask: PNG) as server:
        assert run(words(server, *change)) == code
        assert not server.asked and not Path("tiles").exists()
    shown = capfd.readouterr().err.splitlines()
    assert len(shown) == 1 and says in shown[0]


def test_without_areas_the_frames_are_meant_and_attribution_is_needed(capfd: pytest.CaptureFixture[str]) -> None:
    template = "http://127.0.0.1:1/{z}/{x}/{y}"
    assert run(["fetch-tiles", template, "--attribution", "(c)"]) == 66
    assert "frames: no such file" in capfd.readouterr().err
    assert run(["fetch-tiles", template, "--bbox", BOX]) == 2
    assert "--attribution" in capfd.readouterr().err
    assert run(["fetch-tiles", "file:///{z}/{x}/{y}", "--bbox", BOX, "--attribution", "(c)"]) == 2
    assert "only http and https" in capfd.readouterr().err


def test_what_is_fetched_around_a_track_is_all_that_a_gallery_needs(capfd: pytest.CaptureFixture[str]) -> None:
    """Crops at any position, and regions of 7 x 7 tiles; whose imagery it is goes along."""
    places = np.random.default_rng(0).uniform((38.70, -9.15), (38.71, -9.14), (12, 2))
    lines = [f"a,{second},{lat:.7f},{lon:.7f}" for second, (lat, lon) in enumerate(places)]
    Path("track.csv").write_text("\n".join(["video_id,time_s,lat_deg,lon_deg", *lines, ""]))
    with serving(lambda ask: PNG) as server:
        base = ["fetch-tiles", server.template, "track.csv", "--attribution", "(c) Test", "--rate-hz", "1000"]
        assert run(base) == 0
        assert run(["build-gallery", "aerial", "tiles", "--around", "track.csv", "--out", "crops.h5"]) == 0
        assert "left out" not in capfd.readouterr().err
        crops = read_gallery("crops.h5")
        assert len(crops) == 12 and crops.attributes["attribution"] == "(c) Test"
        assert tile_pictures(crops).read(11).shape == (256, 256, 3)
        first = Path("first.csv")
        first.write_text("\n".join(["video_id,time_s,lat_deg,lon_deg", lines[0], ""]))
        assert run([*base[:2], "first.csv", *base[3:], "--across", "7", "--out", "wide"]) == 0
        words = ["build-gallery", "aerial", "wide", "--around", "first.csv", "--regions", "--out", "regions.h5"]
        assert run(words) == 0 and len(read_gallery("regions.h5")) == 1


def start(server: Server) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "vgeo", *words(server, "--rate-hz", "25")]
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})


def wait_for(server: Server, count: int) -> None:
    end = time.monotonic() + 20
    while len(server.asked) < count:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_after_a_kill_nothing_is_asked_for_twice() -> None:
    with serving(lambda ask: Say(drip_s=0.0001)) as server:  # the body takes as long as the rest: kills hit it
        for count in (2, 5, 7):
            process = start(server)
            wait_for(server, count)
            process.kill()
            process.communicate()
            for path in pictures(Path("tiles")):
                assert path.read_bytes() == PNG
        there, asked = len(pictures(Path("tiles"))), len(server.asked)
        assert run(words(server)) == 0
        assert len(server.asked) == asked + 9 - there
        assert len(server.asked) <= 9 + 3  # only what was under way when a kill came is asked for again
        assert len(pictures(Path("tiles"))) == 9 and not list(Path("tiles").rglob(".*.partial"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(number: int, code: int) -> None:
    with serving(lambda ask: Say(silent_s=0.02)) as server:
        process = start(server)
        wait_for(server, 3)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode == code and "Traceback" not in said
        assert 2 <= len(pictures(Path("tiles"))) <= len(server.asked) < 9
        if code == 130:
            assert "interrupted; what was finished is kept, run the same command again to go on" in said
        asked = len(server.asked)
        there = len(pictures(Path("tiles")))
        assert run(words(server)) == 0
        assert len(server.asked) == asked + 9 - there


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\nfrom vgeo.cli import run\n"
        "code = run(sys.argv[1:])\n"
        "sys.exit(0 if code == 0 and 'httpx' in sys.modules and 'torch' not in sys.modules else 1)"
    )
    Path("track.csv").write_text("video_id,time_s,lat_deg,lon_deg\na,0,0.011,0.011\na,1,0.0111,0.011\n")
    with serving(lambda ask: PNG) as server:
        done = subprocess.run(
            [sys.executable, "-c", code, *words(server, "track.csv")], stderr=-1, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
