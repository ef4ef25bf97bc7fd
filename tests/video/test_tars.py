"""WebDataset tars as input: what is a clip, what lies beside it, and tars that are damaged or hostile."""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from clipmaker import make_video, read_number
from PIL import Image

from vgeo.cli import run
from vgeo.errors import FormatError, InputError
from vgeo.video import tars
from vgeo.video.clips import find_clips, open_clip
from vgeo.video.sampling import Sampling

GPX = """<gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>
<trkpt lat="52.0" lon="13.0"><time>2024-01-01T00:00:00Z</time></trkpt>
<trkpt lat="52.001" lon="13.0"><time>2024-01-01T00:00:03Z</time></trkpt></trkseg></trk></gpx>"""


def make_tar(path: Path, files: dict[str, bytes | str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(tmp_path_factory.mktemp("source") / "a.mp4", frames=60, rate=30).read_bytes()


def left_over() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("vgeo-tar-*"))


def test_video_with_track_and_labels(tmp_path: Path, video: bytes) -> None:
    labels = json.dumps({"city": "Berlin", "split": "val", "duration": 2, "caption": "x"})
    tar = make_tar(tmp_path / "data.tar", {"drive/0001.mp4": video, "drive/0001.gpx": GPX, "drive/0001.json": labels})
    [clip] = find_clips([tar])
    assert (clip.video_id, clip.kind, clip.name) == ("0001", "video", f"{tar}:drive/0001.mp4")
    with open_clip(clip, Sampling(rate_hz=2)) as opened:
        frames = list(opened)
        assert len(left_over()) == 1
    assert [read_number(frame.image) for frame in frames] == [0, 15, 30, 45]
    assert opened.labels == {"city": "Berlin", "split": "val"}
    np.testing.assert_allclose(opened.latlon_deg[:, 0], 52 + np.array([0, 0.5, 1, 1.5]) / 3000, atol=1e-9)
    assert left_over() == []


def test_pictures_at_the_top_are_clips_and_folders_of_them_too(tmp_path: Path) -> None:
    make_tar(
        tmp_path / "t.tar",
        {
            "10.png": picture(1), "10.json": json.dumps({"LAT": "48.5", "lon": 2.25, "city": 7}), "2.png": picture(2),
            "walk/f10.png": picture(3), "walk/f2.png": picture(4), "walk/.hidden.png": picture(5), "notes.txt": "x",
        },
    )  # fmt: skip
    clips = {clip.video_id: clip for clip in find_clips([tmp_path])}  # a folder that holds a tar
    assert sorted(clips) == ["10", "2", "walk"]
    with open_clip(clips["walk"]) as opened:
        assert [int(frame.image[0, 0, 0]) for frame in opened] == [4, 3]
    with open_clip(clips["10"]) as opened:
        [frame] = list(opened)
    np.testing.assert_allclose(frame.latlon_deg, [48.5, 2.25], atol=1e-9)
    assert opened.labels == {"city": "7"}
    assert "one position for all frames" in " ".join(opened.remarks)


@pytest.mark.parametrize("said", ['{"lat": 95, "lon": 0}', '{"lat": "nowhere", "lon": 0}', '{"lat": 1}', "[1, 2]"])
def test_positions_that_are_none(tmp_path: Path, said: str) -> None:
    [clip] = find_clips([make_tar(tmp_path / "t.tar", {"a.png": picture(1), "a.json": said})])
    with open_clip(clip) as opened:
        assert np.isnan(opened.latlon_deg).all()


def test_geojson_beside_a_video(tmp_path: Path, video: bytes) -> None:
    line = {
        "type": "Feature",
        "properties": {"relativeTimes": [0.0, 2.0]},
        "geometry": {"type": "LineString", "coordinates": [[13.0, 52.0], [13.0, 52.002]]},
    }
    [clip] = find_clips([make_tar(tmp_path / "t.tar", {"a.mp4": video, "a.json": json.dumps(line)})])
    with open_clip(clip, Sampling(count=2)) as opened:
        assert np.isfinite(opened.latlon_deg).all()


def test_equal_names_in_two_tars_get_ids_of_their_own(tmp_path: Path) -> None:
    first = make_tar(tmp_path / "x-0.tar", {"1.png": picture(1)})
    second = make_tar(tmp_path / "x-1.tar", {"1.png": picture(2)})
    assert [clip.video_id for clip in find_clips([first, second])] == ["x-0_1", "x-1_1"]


def test_names_do_not_lead_out_and_links_are_not_followed(tmp_path: Path, video: bytes) -> None:
    tar = make_tar(tmp_path / "t.tar", {"../../up.mp4": video, "/outside/abs.png": picture(1)})
    with tarfile.open(tar, "a") as more:
        link = tarfile.TarInfo("secret.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        more.addfile(link)
    clips = find_clips([tar])
    assert sorted(clip.video_id for clip in clips) == ["outside", "up"]
    for clip in clips:
        with open_clip(clip, Sampling(count=1)) as opened:
            assert len(list(opened)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["t.tar"]


def test_tar_that_ends_too_early(tmp_path: Path, video: bytes) -> None:
    tar = make_tar(tmp_path / "t.tar", {"a.png": picture(1), "b.mp4": video, "c.png": picture(2)})
    tar.write_bytes(tar.read_bytes()[: 4096 + len(video) // 2])
    good, cut = find_clips([tar])
    with open_clip(good) as opened:
        assert len(list(opened)) == 1
    with pytest.raises(FormatError, match=r"t\.tar: ends in the middle of b\.mp4, \d+ bytes of it are missing"):
        open_clip(cut)
    assert left_over() == []


def test_what_is_no_tar(tmp_path: Path) -> None:
    for name, content in {"text.tar": b"hello" * 300, "zipped.tar": b"\x1f\x8b" + b"0" * 600}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match="not a tar that can be read"):
            find_clips([tmp_path / name])
    with pytest.raises(InputError, match="no videos or images"):
        find_clips([make_tar(tmp_path / "empty.tar", {"notes.txt": "x"})])


def test_errors_speak_of_the_tar(tmp_path: Path) -> None:
    tar = make_tar(tmp_path / "t.tar", {"a.mp4": "<html>" * 99, "w/1.png": "no picture", "w/2.png": "nor this"})
    for clip, name in zip(find_clips([tar]), ("a.mp4", "w"), strict=True):
        with pytest.raises(FormatError) as caught, open_clip(clip) as opened:
            list(opened)
        assert f"{tar}:{name}" in str(caught.value) and "vgeo-tar-" not in str(caught.value)


def test_folders_of_killed_processes_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    tar = make_tar(tmp_path / "t.tar", {"a.png": picture(1)})
    script = (
        "import os, signal, sys\nfrom vgeo.video.clips import find_clips, open_clip\n"
        f"open_clip(find_clips([{str(tar)!r}])[0])\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    subprocess.run([sys.executable, "-c", script], check=False, env=env)
    [dead] = left_over()
    [clip] = find_clips([tar])
    with open_clip(clip) as opened:
        assert len(list(opened)) == 1 and not dead.exists()
    tars._sweep()
    assert left_over() == []


def test_extracts_as_the_files_do(tmp_path: Path, video: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clips").mkdir()
    Path("clips/a.mp4").write_bytes(video)
    Path("clips/a.gpx").write_text(GPX)
    make_tar(tmp_path / "data.tar", {"a.mp4": video, "a.gpx": GPX})
    assert run(["extract-frames", "clips", "--out", "one"]) == 0
    assert run(["extract-frames", "data.tar", "--out", "two"]) == 0
    assert Path("one/frames.jsonl").read_text() == Path("two/frames.jsonl").read_text()
    assert Path("one/a/000030.jpg").read_bytes() == Path("two/a/000030.jpg").read_bytes()
    assert run(["extract-frames", "data.tar", "--out", "two", "--report", "r.jsonl"]) == 0
    assert "finished before" in Path("r.jsonl").read_text()
