"""The feature file: round trip, resuming after a kill, refusal of other settings, several writers at once."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from vgeo.encoders.base import EncoderSpec
from vgeo.errors import BusyError, FormatError, InputError, OutputError, SettingError, UsageError
from vgeo.formats.features import FeatureFile, FeatureWriter

A = EncoderSpec(name="a", dim=3, weights="none", weights_hash="none", preprocessing="p", settings={})
B = EncoderSpec(name="b:x/y", dim=5, weights="x/y", weights_hash="1f", preprocessing="q", settings={"size": "9"})
SPECS = {spec.name: spec for spec in (A, B)}


def add(writer: FeatureWriter, name: str, frames: int, seed: int = 0, **more) -> dict[str, np.ndarray]:
    draw = np.random.default_rng([seed, *name.encode()])
    tables = {spec.name: draw.normal(size=(frames, spec.dim)).astype(np.float32) for spec in SPECS.values()}
    latlon_deg = np.column_stack([np.linspace(55, 56, frames), np.linspace(13, 14, frames)])
    latlon_deg[1:2] = np.nan
    writer.add(name, tables, np.arange(frames) * 0.5, latlon_deg, **more)
    return tables


def fill(path: Path, names: str = "cab", **more) -> dict[str, dict[str, np.ndarray]]:
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1", **more) as writer:
        tables = {name: add(writer, name, 2 + i, labels={"city": f"city {name}"}) for i, name in enumerate(names)}
        writer.finish(list(names))
    return tables


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "features.h5"
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as writer:
        first = add(
            writer,
            "walk",
            4,
            start_utc="2019-11-18T23:45:14.000Z",
            labels={"city": "Malmö"},
            source="w.mp4",
            made_from="1f",
            frame_index=[0, 15, 30, 45],
        )
        second = add(writer, "ride", 2, labels={"country": "Sweden"})
        assert writer.done == {"walk", "ride"}
        assert writer.finish(["walk", "ride"]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["features.h5"]
    file = FeatureFile.open(path)
    assert file.encoders == SPECS
    assert (file.sampling, file.decoder, len(file)) == ("1 Hz", "pyav 1", 6)
    assert file.video_ids == ["walk", "ride"]
    assert file.first_row.tolist() == [0, 4, 6]
    assert file.start_utc == ["2019-11-18T23:45:14.000Z", None]
    assert file.sources == ["w.mp4", ""]
    assert file.made_from == ["1f", ""]
    assert file.labels == {"city": ["Malmö", ""], "country": ["", "Sweden"]}
    assert file.time_s.tolist() == [0, 0.5, 1, 1.5, 0, 0.5]
    for name in SPECS:
        expected = np.concatenate([first[name], second[name]]).astype(np.float16)
        np.testing.assert_array_equal(file.features(name), expected)
        assert isinstance(file.features(name), np.memmap)
        assert torch.from_numpy(file.features(name)[[4, 5]]).dtype == torch.float16
    walk, ride = file.tracks()
    assert walk.time_s is not None and walk.time_s.tolist() == [0, 1, 1.5]  # the second frame has no position
    assert walk.latlon_deg[-1].tolist() == [56, 14]
    assert walk.frame_index is not None and walk.frame_index.tolist() == [0, 30, 45]
    assert ride.frame_index is None
    assert walk.start_utc is not None and walk.start_utc.second == 14
    assert (ride.video_id, len(ride)) == ("ride", 1)
    with pytest.raises(SettingError, match=r"holds no features of clip, but of a, b:x/y.*--encoder clip"):
        file.features("clip")


def test_layout_is_what_plain_h5py_shows(tmp_path: Path) -> None:
    fill(tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["features/a"].shape == (9, 3) and file["features/a"].dtype == np.float16
        assert file["features/b:x/y"].chunks is None
        assert {"time_s", "lat_deg", "lon_deg", "video_id", "first_row", "labels", "start_utc", "source"} < set(file)
        assert json.loads(file.attrs["encoders"])[1]["weights_hash"] == "1f"


def test_interrupted_run_continues_and_gives_the_same_bytes(tmp_path: Path) -> None:
    fill(tmp_path / "straight.h5")
    path = tmp_path / "resumed.h5"
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as writer:
        add(writer, "a", 3, labels={"city": "city a"})
    assert not path.exists()
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as writer:
        assert writer.done == {"a"}
        add(writer, "c", 2, labels={"city": "city c"})
        add(writer, "b", 4, labels={"city": "city b"})
        writer.finish(["c", "a", "b"])
    assert path.read_bytes() == (tmp_path / "straight.h5").read_bytes()


def test_kill_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_features import SPECS, FeatureWriter, add
        writer = FeatureWriter({str(tmp_path / "f.h5")!r}, SPECS, "1 Hz", "pyav 1")
        for i in range(100):
            add(writer, f"v{{i}}", 5)
            if i == 7:
                os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    with FeatureWriter(tmp_path / "f.h5", SPECS, "1 Hz", "pyav 1") as writer:
        assert writer.done == {f"v{i}" for i in range(8)}
        writer.finish()
    assert len(FeatureFile.open(tmp_path / "f.h5").video_ids) == 8


def test_finished_file_is_extended_and_old_rows_stay(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    fill(path, "ab")
    before = np.array(FeatureFile.open(path).features("a"))
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as writer:
        assert writer.done == {"a", "b"}
        add(writer, "c", 2)
        assert writer.finish() == 3
    file = FeatureFile.open(path)
    assert file.video_ids == ["a", "b", "c"]
    assert file.labels == {"city": ["city a", "city b", ""]}
    np.testing.assert_array_equal(file.features("a")[: len(before)], before)


def test_video_that_is_made_again_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    fill(path, "ab")
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as writer:
        tables = add(writer, "a", 7, seed=1, made_from="new")
        assert writer.made_from == {"a": "new", "b": ""}
        writer.finish()
    file = FeatureFile.open(path)
    assert file.video_ids == ["a", "b"], "in its place"
    np.testing.assert_array_equal(file.features("a")[file.rows(0)], tables["a"].astype(np.float16))


def test_a_kill_between_the_removal_of_parts_leaves_the_order_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".safetensors" and len(list(self.parent.glob("*.safetensors"))) == 2:
            raise Killed
        really(self, missing_ok=missing_ok)

    really = Path.unlink
    path = tmp_path / "f.h5"
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as writer:
        for name in "abc":
            add(writer, name, 3)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Path, "unlink", unlink)
            writer.finish(["c", "a", "b"])
    whole = path.read_bytes()
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as writer:
        assert writer.finish(["c", "a", "b"]) == 3
    assert path.read_bytes() == whole and FeatureFile.open(path).video_ids == ["c", "a", "b"]
    assert [item.name for item in tmp_path.iterdir()] == ["f.h5"]


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    fill(path)
    before = path.stat()
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as writer:
        writer.finish()
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino
    assert [p.name for p in tmp_path.iterdir()] == ["f.h5"]


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("specs", "sampling", "decoder", "message"),
    [
        (SPECS, "2 Hz", "pyav 1", "sampling 1 Hz, now 2 Hz"),
        (SPECS, "1 Hz", "pyav 2", "decoder pyav 1, now pyav 2"),
        ({"a": A}, "1 Hz", "pyav 1", "encoders a, b:x/y, now a;"),
        ({"a": EncoderSpec(name="a", dim=3, weights="w", weights_hash="2e", preprocessing="p", settings={}), B.name: B},
         "1 Hz", "pyav 1", "a of weights hash none, now 2e"),
    ],
)  # fmt: skip
def test_other_settings_are_refused(  # type: ignore[no-untyped-def]
    tmp_path: Path, finished: bool, specs, sampling, decoder, message
) -> None:
    path = tmp_path / "f.h5"
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as writer:
        add(writer, "v", 2)
        if finished:
            writer.finish()
    with pytest.raises(SettingError, match=message):
        FeatureWriter(path, specs, sampling, decoder)
    FeatureWriter(path, SPECS, "1 Hz", "pyav 1").close()  # the lock was let go


def test_overwrite_starts_anew_but_continues_its_own_interrupted_run(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    fill(path, "ab")
    with FeatureWriter(path, SPECS, "2 Hz", "pyav 1", overwrite=True) as writer:
        assert writer.done == set()
        add(writer, "x", 2)
    with FeatureWriter(path, SPECS, "2 Hz", "pyav 1", overwrite=True) as writer:
        assert writer.done == {"x"}
    with FeatureWriter(path, SPECS, "3 Hz", "pyav 1", overwrite=True) as writer:
        assert writer.done == set()
        add(writer, "y", 2)
        assert FeatureFile.open(path).video_ids == ["a", "b"]  # until the last step
        writer.finish()
    assert FeatureFile.open(path).video_ids == ["y"]


def test_two_writers_fill_one_file_together(tmp_path: Path) -> None:
    fill(tmp_path / "alone.h5", "abcd")
    path = tmp_path / "f.h5"
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as first, FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as second:
        for writer, video in ((first, "a"), (second, "b"), (first, "d"), (second, "c")):
            add(writer, video, 2 + "abcd".index(video), labels={"city": f"city {video}"})
        assert first.finished("b", "") and not first.finished("b", "another file")
        first.finish(list("abcd"))
        assert path.read_bytes() == (tmp_path / "alone.h5").read_bytes()
        assert second.finished("d", ""), "though its part is gone"
        assert second.finish(list("abcd")) == 4
    assert path.read_bytes() == (tmp_path / "alone.h5").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alone.h5", "f.h5"]


def test_writers_of_other_lists_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    fill(path, "x")
    more = {"overwrite": True}
    with (
        FeatureWriter(path, SPECS, "1 Hz", "pyav 1", **more) as first,
        FeatureWriter(path, SPECS, "1 Hz", "pyav 1", **more) as second,
    ):
        add(first, "a", 2)
        first.finish()
        assert FeatureFile.open(path).video_ids == ["a"]
        add(second, "b", 2)
        second.finish()
    assert FeatureFile.open(path).video_ids == ["a", "b"]


def test_writers_that_differ_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with FeatureWriter(path, SPECS, "1 Hz", "pyav 1") as writer:
        with pytest.raises(SettingError, match="sampling 1 Hz, now 2 Hz"):
            FeatureWriter(path, SPECS, "2 Hz", "pyav 1")
        for sampling in ("1 Hz", "2 Hz"):
            with pytest.raises(BusyError, match="other processes fill it"):
                FeatureWriter(path, SPECS, sampling, "pyav 1", overwrite=True)
        add(writer, "v", 2)
        writer.finish()
    FeatureWriter(path, SPECS, "1 Hz", "pyav 1").close()


@pytest.mark.parametrize("value", [np.nan, np.inf, 70000.0])
def test_values_beyond_float16_are_refused(tmp_path: Path, value: float) -> None:
    with FeatureWriter(tmp_path / "f.h5", {"a": A}, "1 Hz", "pyav 1") as writer:
        table = np.zeros((2, 3), np.float32)
        table[1, 2] = value
        with pytest.raises(FormatError, match="beyond float16"):
            writer.add("v", {"a": table}, [0, 1], np.full((2, 2), np.nan))
    assert list(tmp_path.iterdir()) == []  # an empty parts folder does not stay


def test_views_of_other_arrays_are_stored_by_value(tmp_path: Path) -> None:
    table = np.arange(12.0).reshape(3, 4)
    with FeatureWriter(tmp_path / "f.h5", {"a": A}, "1 Hz", "pyav 1") as writer:
        writer.add("v", {"a": table[:, 1:].astype(np.float32)[::-1]}, table[:, 0], table[:, 2:])
        writer.finish()
    file = FeatureFile.open(tmp_path / "f.h5")
    assert file.time_s.tolist() == [0, 4, 8]
    assert file.latlon_deg.tolist() == [[2, 3], [6, 7], [10, 11]]
    assert file.features("a").tolist() == [[9, 10, 11], [5, 6, 7], [1, 2, 3]]


def test_damaged_part_is_made_again(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "f.h5", SPECS, "1 Hz", "pyav 1") as writer:
        add(writer, "a", 2)
        add(writer, "b", 2)
    part = next((tmp_path / "f.h5.parts").glob("*.safetensors"))
    part.write_bytes(part.read_bytes()[:50])
    with FeatureWriter(tmp_path / "f.h5", SPECS, "1 Hz", "pyav 1") as writer:
        assert len(writer.done) == 1


def test_output_that_is_something_else_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    path.write_text("my diary")
    with pytest.raises(OutputError, match="not an HDF5 file; use --overwrite"):
        FeatureWriter(path, SPECS, "1 Hz", "pyav 1")
    assert path.read_text() == "my diary"
    with pytest.raises(UsageError):
        FeatureWriter("-", SPECS, "1 Hz", "pyav 1")


def spoil(path: Path, **columns: object) -> None:
    with h5py.File(path, "r+") as file:
        for name, value in columns.items():
            del file[name]
            file[name] = value


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"first_row": np.array([0, 5, 4, 9])}, "does not cut 9 frames"),
        ({"first_row": np.array([0, 2, 5, 10])}, "does not cut 9 frames"),
        ({"time_s": np.full(9, np.nan)}, "a time is not finite"),
        ({"time_s": np.zeros(8)}, "9 rows of lat_deg, lon_deg for 8 frames"),
        ({"lat_deg": np.full(9, 91.0)}, "not on the Earth"),
        ({"video_id": np.array([b"a", b"a", b"b"])}, "occurs twice"),
        ({"start_utc": np.array([b"", b""])}, "2 of start_utc for 3 videos"),
        ({"time_s": np.array([b"x"] * 9)}, r"time_s is \|S1"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    path = tmp_path / "f.h5"
    fill(path)
    spoil(path, **columns)
    with pytest.raises(FormatError, match=message):
        FeatureFile.open(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1.0]
    with pytest.raises(FormatError, match="not a feature file"):
        FeatureFile.open(tmp_path / "other.h5")
    with pytest.raises(InputError):
        FeatureFile.open(tmp_path / "none.h5")


def test_files_of_a_later_version_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file.attrs["version"] = np.bytes_(b"2")
    with pytest.raises(FormatError, match="feature file of version 2, known is 1"):
        FeatureFile.open(tmp_path / "f.h5")


@pytest.mark.parametrize("place", [[91.0, 0.0], [np.nan, 5.0], [120.0, 30.0]])
def test_positions_off_the_earth_are_not_stored(tmp_path: Path, place: list[float]) -> None:
    with FeatureWriter(tmp_path / "f.h5", {"a": A}, "1 Hz", "pyav 1") as writer:
        with pytest.raises(FormatError, match="video v: position 1 is not on the Earth"):
            writer.add("v", {"a": np.zeros((2, 3), np.float32)}, [0, 1], [[1.0, 2.0], place])
        assert writer.done == set()


def test_chunked_features_of_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    fill(path)
    before = np.array(FeatureFile.open(path).features("a"))
    with h5py.File(path, "r+") as file:
        del file["features/a"]
        file.create_dataset("features/a", data=before, chunks=(4, 3), compression="gzip")
    np.testing.assert_array_equal(FeatureFile.open(path).features("a"), before)


def test_reading_does_not_import_torch() -> None:
    code = "import sys, vgeo.formats.features; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
