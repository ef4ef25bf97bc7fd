"""Clips to a feature file: two routes agree, runs resume, bad clips are accounted for."""

import csv
import json
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vgeo import device
from vgeo.encoders.base import Encoder, EncoderSpec
from vgeo.errors import FormatError, InputError, SettingError, UsageError
from vgeo.formats.features import FeatureFile
from vgeo.geo.sphere import distance_km
from vgeo.stages import encode
from vgeo.stages.encode import ClipFeatures, FrameStream, Viewing, encode_stream, load_encoders, read_weights
from vgeo.stages.extract_frames import extract_frames
from vgeo.stages.precompute_features import precompute_features
from vgeo.video.clips import Clip, TrackSource, find_clips
from vgeo.video.sampling import Sampling

COMPUTE = device.Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def clips(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real clips, 4.5 and 1 MB."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("karma.mp4", "hero5-trimmed.mp4"):
        shutil.copy(shared_dir / "data/gopro-gps-videos" / name, folder)
    return folder


@pytest.fixture(scope="module")
def features(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features") / "features.h5"
    outcomes = precompute_features([clips], out, compute=COMPUTE)
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    return out


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_straight_from_video_equals_by_way_of_jpegs(clips: Path, features: Path, tmp_path: Path) -> None:
    extract_frames([clips], tmp_path / "frames")
    precompute_features([tmp_path / "frames"], tmp_path / "f.h5", compute=COMPUTE)
    direct, pictures = FeatureFile.open(features), FeatureFile.open(tmp_path / "f.h5")
    assert direct.video_ids == pictures.video_ids == ["hero5-trimmed", "karma"]
    np.testing.assert_array_equal(direct.first_row, pictures.first_row)
    np.testing.assert_array_equal(direct.frame_index, pictures.frame_index)
    np.testing.assert_allclose(direct.time_s, pictures.time_s, atol=1e-6)
    np.testing.assert_allclose(direct.latlon_deg, pictures.latlon_deg, atol=1e-6)
    assert cosines(direct.features("gist"), pictures.features("gist")).min() > 0.99
    assert [track.start_utc for track in direct.tracks()] == [track.start_utc for track in pictures.tracks()]


def test_positions_are_those_of_the_telemetry(features: Path, shared_dir: Path) -> None:
    with open(shared_dir / "data/gopro-gps-videos/hero5-trimmed.gps5.csv") as file:
        fixes = np.array([[float(row["lat"]), float(row["lon"])] for row in csv.DictReader(file)])
    found = FeatureFile.open(features)
    places = found.latlon_deg[found.rows(0)]
    assert distance_km(places[:, None], fixes[None]).min(axis=1).max() < 0.001


def test_run_again_does_nothing_and_says_so(
    clips: Path, features: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = features.stat()
    monkeypatch.setattr(encode, "open_clip", None)  # whoever decodes now fails
    with caplog.at_level("INFO"):
        outcomes = precompute_features([clips], features, compute=COMPUTE)
    assert [outcome.status for outcome in outcomes] == ["skipped", "skipped"]
    assert "2 of 2 clips were finished before" in caplog.text
    assert features.stat().st_mtime_ns == before.st_mtime_ns


def test_changed_clip_is_done_again(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    precompute_features([folder], tmp_path / "f.h5", compute=COMPUTE)
    shutil.copy(clips / "hero5-trimmed.mp4", folder / "karma.mp4")
    outcomes = precompute_features([folder], tmp_path / "f.h5", compute=COMPUTE)
    assert [outcome.status for outcome in outcomes] == ["skipped", "done"]
    file = FeatureFile.open(tmp_path / "f.h5")
    np.testing.assert_array_equal(file.features("gist")[file.rows(0)], file.features("gist")[file.rows(1)])


def test_interrupted_run_continues(
    clips: Path, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second clip: the first stays, the second run makes the rest, the bytes are those of one go."""
    done: list[str] = []
    original = encode.encode_stream

    def interrupted(stream, *rest):  # type: ignore[no-untyped-def]
        if done:
            raise KeyboardInterrupt
        done.append(stream.clip.video_id)
        return original(stream, *rest)

    monkeypatch.setattr("vgeo.stages.eyes.encode_stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        precompute_features([clips], tmp_path / "f.h5", compute=COMPUTE)
    assert not (tmp_path / "f.h5").exists()
    monkeypatch.undo()
    outcomes = precompute_features([clips], tmp_path / "f.h5", compute=COMPUTE)
    assert [outcome.status for outcome in outcomes] == ["skipped", "done"]
    assert (tmp_path / "f.h5").read_bytes() == features.read_bytes()
    assert threading.active_count() < 4


def test_bad_clip_among_good_ones(clips: Path, features: Path, tmp_path: Path) -> None:
    folder, report = tmp_path / "clips", tmp_path / "report.jsonl"
    shutil.copytree(clips, folder)
    (folder / "a.mp4").write_bytes(b"no video" * 100)
    outcomes = precompute_features([folder], tmp_path / "f.h5", compute=COMPUTE, report=report)
    assert [outcome.status for outcome in outcomes] == ["failed", "done", "done"]
    assert [json.loads(line)["status"] for line in report.read_text().splitlines()] == ["failed", "done", "done"]
    np.testing.assert_array_equal(
        FeatureFile.open(tmp_path / "f.h5").features("gist"), FeatureFile.open(features).features("gist")
    )
    with pytest.raises(FormatError):
        precompute_features([folder], tmp_path / "g.h5", compute=COMPUTE, fail_fast=True)


def test_nothing_done_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    outcomes = precompute_features([tmp_path / "a.mp4"], tmp_path / "f.h5", compute=COMPUTE)
    assert [outcome.status for outcome in outcomes] == ["failed"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with pytest.raises(InputError):
        precompute_features([tmp_path / "none"], tmp_path / "f.h5", compute=COMPUTE)


def test_window_without_frames_is_the_clips_failure(clips: Path, tmp_path: Path) -> None:
    sampling = Sampling(rate_hz=1, start_s=1000)
    outcomes = precompute_features([clips], tmp_path / "f.h5", sampling=sampling, compute=COMPUTE)
    assert [outcome.exit_code for outcome in outcomes] == [66, 66]
    assert "--start-s" in outcomes[0].message


def test_the_decoder_is_stored_with_its_version(features: Path) -> None:
    """Another release of FFmpeg may give other pixels: features of both do not go into one file."""
    assert FeatureFile.open(features).decoder == f"pyav {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def test_other_sampling_is_refused(clips: Path, features: Path) -> None:
    with pytest.raises(SettingError, match="now count=3"):
        precompute_features([clips], features, sampling=Sampling(count=3), compute=COMPUTE)


def test_pictures_of_several_sizes_and_a_given_track(shared_dir: Path, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "walk"
    folder.mkdir()
    for i, size in enumerate([(64, 48), (64, 48), (48, 64), (64, 48)]):
        Image.new("RGB", size, (60 * i, 9, 9)).save(folder / f"{i}.jpg")
    track = tmp_path / "t.csv"
    track.write_text("time_s,lat,lon\n0,55,13\n3,56,13\n")
    precompute_features(
        [folder], tmp_path / "f.h5", compute=COMPUTE, source=TrackSource(file=track, max_gap_s=5), batch_size=2
    )
    file = FeatureFile.open(tmp_path / "f.h5")
    assert len(file) == 4
    assert file.latlon_deg[0].tolist() == [55, 13]


def status(inputs: list[Path], out: Path, **source: object) -> list[str]:
    found = precompute_features(inputs, out, compute=COMPUTE, source=TrackSource(**source))  # type: ignore[arg-type]
    return [outcome.status for outcome in found]


def test_all_that_features_come_from_is_watched(tmp_path: Path) -> None:
    from PIL import Image

    folder, track, out = tmp_path / "walk", tmp_path / "t.csv", tmp_path / "f.h5"
    folder.mkdir()
    for i in range(2):
        Image.new("RGB", (32, 32), (60 * i, 9, 9)).save(folder / f"{i}.png")
    track.write_text("time_s,lat,lon\n0,55,13\n3,56,13\n")
    given = {"file": track, "max_gap_s": 5.0}
    assert status([folder], out, **given) == ["done"]
    assert status([folder], out, **given) == ["skipped"]
    assert status([folder], out, **given, time_offset_s=1.0) == ["done"]
    assert FeatureFile.open(out).latlon_deg[0, 0] == pytest.approx(55 + 1 / 3, abs=1e-3)
    assert status([folder], out, **(given | {"max_gap_s": 0.1}), time_offset_s=1.0) == ["done"]
    assert np.isnan(FeatureFile.open(out).latlon_deg[0, 0])
    track.write_text("time_s,lat,lon\n0,57,13\n3,58,13\n4,58,13\n")
    assert status([folder], out, **given) == ["done"]
    assert FeatureFile.open(out).latlon_deg[0, 0] == pytest.approx(57)
    before = np.array(FeatureFile.open(out).features("gist"))
    Image.effect_noise((33, 32), 99).convert("RGB").save(folder / "1.png")
    assert status([folder], out, **given) == ["done"]
    after = FeatureFile.open(out).features("gist")
    assert np.array_equal(after[0], before[0]) and not np.array_equal(after[1], before[1])


def test_pictures_of_a_frames_folder_are_watched_and_videos_keep_the_order_given(tmp_path: Path) -> None:
    from PIL import Image

    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32), (90, 9, 9)).save(tmp_path / name / "0.png")
        line = {"video_id": name, "frame_index": 0, "time_s": 0.0, "path": "0.png"}
        (tmp_path / name / "frames.jsonl").write_text(json.dumps(line) + "\n")
    inputs, out = [tmp_path / "b", tmp_path / "a"], tmp_path / "f.h5"
    assert status(inputs, out) == ["done", "done"]
    assert FeatureFile.open(out).video_ids == ["b", "a"]
    assert status(inputs, out) == ["skipped", "skipped"]
    Image.effect_noise((32, 32), 99).convert("RGB").save(tmp_path / "a" / "0.png")
    assert status(inputs, out) == ["skipped", "done"]


# --- encoders and streams ---


class Slow(Encoder):
    spec = EncoderSpec(name="slow", dim=1, weights="none", weights_hash="none", preprocessing="", settings={})

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, frames_BHWC: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(frames_BHWC))
        return frames_BHWC.float().mean(dim=(1, 2, 3))[:, None]


def encode_clip(clip: Clip, encoders: Mapping[str, Encoder], viewing: Viewing = Viewing()) -> ClipFeatures:
    with FrameStream(clip, viewing) as stream:
        return encode_stream(stream, encoders)


def test_a_clip_alone_gives_the_same_as_the_file(clips: Path, features: Path) -> None:
    clip = find_clips([clips])[1]
    found = encode_clip(clip, load_encoders(["gist"], COMPUTE), Viewing(batch_size=5))
    file = FeatureFile.open(features)
    np.testing.assert_array_equal(found.features["gist"].astype(np.float16), file.features("gist")[file.rows(1)])
    np.testing.assert_array_equal(found.frame_index, file.frame_index[file.rows(1)])


def test_batches_are_bounded_by_number_and_bytes(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, slow = find_clips([clips])[1], Slow()
    encode_clip(clip, {"slow": slow}, Viewing(batch_size=5))
    assert slow.sizes == [5, 5, 3]
    monkeypatch.setattr(encode, "BATCH_BYTES", 1)
    slow.sizes.clear()
    encode_clip(clip, {"slow": slow})
    assert slow.sizes == [1] * 13


def test_an_error_of_the_encoder_ends_the_decoding_thread(clips: Path) -> None:
    class Broken(Slow):
        def __call__(self, frames_BHWC: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no memory")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no memory"):
        viewing = Viewing(sampling=Sampling(rate_hz=30), batch_size=1)
        encode_clip(find_clips([clips])[1], {"broken": Broken()}, viewing)
    time.sleep(0.2)
    assert threading.active_count() == before


def test_weights_and_settings_go_to_their_encoders() -> None:
    assert read_weights(["/a=b"], ["clip"]) == {"clip": "/a=b"}
    assert read_weights(["clip=/a", "dinov2=/b"], ["clip", "dinov2"]) == {"clip": "/a", "dinov2": "/b"}
    with pytest.raises(UsageError, match="say whose"):
        read_weights(["/a"], ["clip", "dinov2"])
    names = ["clip", "torchvision:resnet18"]
    pairs = ["crop=squash", "torchvision:resnet18.p=4"]
    assert encode._settings_of("clip", names, pairs) == {"crop": "squash"}
    assert encode._settings_of("torchvision:resnet18", names, pairs) == {"crop": "squash", "p": "4"}
    with pytest.raises(UsageError, match="key=value"):
        load_encoders(["gist"], COMPUTE, settings=["size"])
    with pytest.raises(UsageError, match="given twice"):
        load_encoders(["gist", "gist"], COMPUTE)
    with pytest.raises(UsageError, match="there are clip, dinov2, gist"):
        load_encoders(["gits"], COMPUTE)


def test_encoders_are_rebuilt_as_a_file_describes_them(shared_dir: Path) -> None:
    weights = shared_dir / "data/squeezenet-imagenet/squeezenet1_0.safetensors"
    name = "torchvision:squeezenet1_0"
    first = load_encoders([name], COMPUTE, weights={name: str(weights)}, settings=["input_style=caffe", "size=227"])
    again = load_encoders([first[name].spec], COMPUTE, offline=True)
    assert again[name].spec == first[name].spec
