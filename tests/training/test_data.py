"""Splits and the store: every frame with a position, once, on the right side, with the right features."""

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
import worlds

from vgeo.device import Compute
from vgeo.errors import FormatError, InputError, UsageError
from vgeo.formats.clip_list import ListedClip
from vgeo.formats.features import FeatureFile, FeatureWriter
from vgeo.stages.train_inputs import training_gallery
from vgeo.training.data import Usable, check_encoders, clip_numbers, digest, split, usable_frames
from vgeo.training.evaluate import whole_clips
from vgeo.training.store import FeatureStore

CPU = Compute(torch.device("cpu"), torch.float32)


def test_frames_without_position_and_empty_clips_are_left_out(tmp_path: Path) -> None:
    file = worlds.write_features(tmp_path / "f.h5", 6, unknown=0.5)
    frames = usable_frames([file, file])
    known = np.flatnonzero(~np.isnan(file.latlon_deg[:, 0]))
    assert frames.row_N.tolist() == known.tolist() + (known + len(file)).tolist()
    assert np.isfinite(frames.latlon_deg).all()
    for clip, video in enumerate(frames.video_ids):
        rows = frames.row_N[frames.clip_first[clip] : frames.clip_first[clip + 1]] % len(file)
        span = file.rows(file.video_ids.index(video))
        assert len(rows)
        assert ((rows >= span.start) & (rows < span.stop)).all()


def test_clips_are_numbered_through_all_files(tmp_path: Path) -> None:
    """Clips without rows count, too, and so do those that are left out."""
    first = SimpleNamespace(video_ids=list("abcd"), first_row=np.array([0, 2, 2, 5, 5]), latlon_deg=np.zeros((5, 2)))
    second = SimpleNamespace(video_ids=list("ef"), first_row=np.array([0, 1, 4]), latlon_deg=np.zeros((4, 2)))
    some = {id(first): [0, 1, 1, 1, 1], id(second): [0, 0, 1, 1]}
    usable = Usable(lambda file: np.array(some[id(file)], bool), "is wanted", "-")
    frames = usable_frames([first, second], usable)
    assert frames.video_ids == ("a", "c", "f")
    assert clip_numbers(frames, [first, second]).tolist() == [0, 2, 5]
    assert clip_numbers(frames.of_clips(np.array([2, 0])), [first, second]).tolist() == [5, 0]


def test_a_fraction_is_drawn_by_clip_and_seed(tmp_path: Path) -> None:
    files = [worlds.write_features(tmp_path / "f.h5", 10)]
    found = split(files, [], 0.3, seed=1)
    assert found.val is not None
    assert len(found.val.video_ids) == 3
    assert sorted(found.train.video_ids + found.val.video_ids) == sorted(files[0].video_ids)
    assert sorted([*found.train.row_N, *found.val.row_N]) == list(range(len(files[0])))
    assert np.array_equal(files[0].latlon_deg[found.val.row_N], found.val.latlon_deg)
    again = split(files, [], 0.3, seed=1)
    assert again.val is not None
    assert again.val.video_ids == found.val.video_ids
    picks = {split(files, [], 0.3, seed=s).val.video_ids for s in range(5)}  # type: ignore[union-attr]
    assert len(picks) > 1
    assert split(files, [], 0, seed=1).val is None
    assert len(split(files, [], None, seed=1).val.video_ids) == 2  # type: ignore[union-attr]


def test_what_is_usable_need_not_have_a_position(tmp_path: Path) -> None:
    """Clips are usable whole, by their labels, and nobody knows where they are."""
    labels = [{"city": "Bonn"} if i % 3 else {} for i in range(9)]
    files = [worlds.write_features(tmp_path / f"{n}.h5", 9, unknown=1.0, labels=labels) for n in "ab"]
    named = Usable(lambda file: np.repeat([c != "" for c in file.labels["city"]], np.diff(file.first_row)), "", "-")
    known = {f"clip{i:02d}" for i in (1, 2, 4, 5, 7, 8)}
    drawn = split(files[:1], [], 0.5, 0, usable=named)
    assert drawn.val is not None and len(drawn.val.video_ids) == 3
    assert {*drawn.train.video_ids, *drawn.val.video_ids} == known
    given = split(files[:1], files[1:], None, 0, usable=named)
    assert given.val is not None and set(given.train.video_ids) == set(given.val.video_ids) == known
    listed_ones = split(files[:1], [], 0, 0, listed=listed("clip02", "clip03"), usable=named)
    assert listed_ones.train.video_ids == ("clip02",)
    with pytest.raises(FormatError, match="to learn from"):
        split(files[:1], [], 0.5, 0)


def test_the_label_column_comes_before_a_fraction(tmp_path: Path) -> None:
    names = ["train", "val", "train", "test", "", "val"]
    files = [worlds.write_features(tmp_path / "f.h5", 6, labels=[{"split": name} for name in names])]
    found = split(files, [], None, 0)
    assert found.train.video_ids == ("clip00", "clip02")
    assert found.val is not None
    assert found.val.video_ids == ("clip01", "clip05")
    forced = split(files, [], 0.5, 0)
    assert len(forced.train.video_ids) == 3


def test_held_out_files_are_used_whole_and_overlap_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = worlds.write_features(tmp_path / "t.h5", 4)
    val = worlds.write_features(tmp_path / "v.h5", {"clip00": 3, "other": 2}, seed=1)
    found = split([train], [val], None, 0)
    assert len(found.train) == len(train)
    assert found.val is not None
    assert len(found.val) == 5
    assert "1 clips of --val are also trained on, clip00" in caplog.text


def test_a_clip_in_two_files_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    a = worlds.write_features(tmp_path / "a.h5", {"x": 3, "y": 2})
    b = worlds.write_features(tmp_path / "b.h5", {"y": 4, "z": 2})
    split([a], [], None, 0)
    assert not caplog.text
    split([a, b], [], None, 0)
    assert "1 clips are in two of the files, y first" in caplog.text


def test_nothing_to_learn_from_says_what_to_do(tmp_path: Path) -> None:
    none = worlds.write_features(tmp_path / "n.h5", 3, unknown=1.1)
    one = worlds.write_features(tmp_path / "o.h5", 1)
    with pytest.raises(FormatError, match="--track"):
        split([none], [], None, 0)
    with pytest.raises(FormatError, match="--val"):
        split([one], [none], None, 0)
    with pytest.raises(FormatError, match="only one clip"):
        split([one], [], None, 0)
    with pytest.raises(FormatError, match="labelled train"):
        split([worlds.write_features(tmp_path / "x.h5", 2, labels=[{"split": "test"}] * 2)], [], None, 0)


def test_where_no_clip_is_labelled_val_a_fifth_of_those_to_train_on_is_held_out(tmp_path: Path) -> None:
    labels = [{"split": name} for name in ["train"] * 9 + ["test"]]
    found = split([worlds.write_features(tmp_path / "l.h5", 10, labels=labels)], [], None, 0)
    assert found.val is not None
    assert (len(found.train.video_ids), len(found.val.video_ids)) == (7, 2)
    assert "clip09" not in {*found.train.video_ids, *found.val.video_ids}
    assert found.how == "20% of the clips, for none is labelled val in split"


def test_encoders_must_be_there_and_alike(tmp_path: Path) -> None:
    a = worlds.write_features(tmp_path / "a.h5", 2)
    b = worlds.write_features(tmp_path / "b.h5", 2, weights_hash="0123")
    check_encoders([a, a], ["gist"], "tiny")
    with pytest.raises(InputError, match=r"no features of clip.*holds gist.*precompute-features -e clip"):
        check_encoders([a], ["clip"], "geoclip")
    with pytest.raises(FormatError, match="made otherwise"):
        check_encoders([a, b], ["gist"], "tiny")


def test_the_digest_follows_the_data(tmp_path: Path) -> None:
    a, b = (usable_frames([worlds.write_features(tmp_path / f"{s}.h5", 3, seed=s)]) for s in (0, 1))
    assert digest(a) == digest(a) != digest(b)
    assert digest(a) != digest(a.of_clips(np.array([0, 1])))


@pytest.mark.parametrize("resident", [True, False])
def test_batches_hold_the_frames_asked_for(tmp_path: Path, resident: bool) -> None:
    files = [worlds.write_features(tmp_path / f"{s}.h5", 3, seed=s, unknown=0.3) for s in (0, 1)]
    frames = usable_frames(files)
    store = FeatureStore(files, frames, ["gist"], CPU, resident)
    assert store.resident is resident
    index = torch.randint(len(frames), (4, 5), generator=torch.Generator().manual_seed(0))
    clips = store.batch(index, torch.ones(4, 5, dtype=torch.bool))
    table = np.concatenate([np.asarray(file.features("gist")) for file in files]).astype(np.float32)
    places = np.concatenate([file.latlon_deg for file in files])
    rows = frames.row_N[index.numpy()]
    assert np.array_equal(clips.features["gist"].numpy(), table[rows])
    assert clips.features["gist"].dtype == torch.float32
    assert clips.latlon_deg is not None
    assert np.array_equal(clips.latlon_deg.numpy(), places[rows])


@pytest.mark.parametrize("resident", [True, False])
def test_features_that_are_not_finite_are_named(tmp_path: Path, resident: bool) -> None:
    file = worlds.write_features(tmp_path / "f.h5", {"a": 4, "b": 6})
    table = np.array(file.features("gist"))
    table[7, 3] = np.inf
    damaged = SimpleNamespace(latlon_deg=file.latlon_deg, features=lambda name: table)
    with pytest.raises(FormatError, match=r"^b: its gist features are not finite \(frame 3\)"):
        store = FeatureStore([damaged], usable_frames([file]), ["gist"], CPU, resident)  # type: ignore[list-item]
        store.batch(torch.tensor([[2, 7]]), torch.ones(1, 2, dtype=torch.bool))


def test_small_data_lies_on_the_device(tmp_path: Path) -> None:
    files = [worlds.write_features(tmp_path / "f.h5", 3)]
    assert FeatureStore(files, usable_frames(files), ["gist"], CPU).resident


def test_whole_clips_cover_each_frame_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgeo.training.evaluate._BATCH_FRAMES", 20)
    frames = usable_frames([worlds.write_features(tmp_path / "f.h5", 12)])
    seen = []
    for frames_BT, mask_BT in whole_clips(frames):
        assert frames_BT.shape == mask_BT.shape
        assert frames_BT.numel() <= 20
        assert (frames_BT < len(frames)).all()
        seen += frames_BT[mask_BT].tolist()
    assert sorted(seen) == list(range(len(frames)))


def listed(*clips: str, file: Path | None = None) -> list[ListedClip]:
    return [ListedClip(video_id=clip, file=file) for clip in clips]


def test_a_list_chooses_what_is_trained_on_and_leaves_what_is_held_out(tmp_path: Path) -> None:
    names = ["train", "val", "train", "train", "", "val"]
    a = worlds.write_features(tmp_path / "a.h5", 6, labels=[{"split": name} for name in names])
    b = worlds.write_features(tmp_path / "b.h5", {"clip00": 3, "b1": 2, "b2": 4}, seed=1)  # no label, other lengths
    chosen = [*listed("clip00", "clip01", "clip03", file=a.path.resolve()), *listed("b2", file=b.path.resolve())]
    found = split([a, b], [], None, 0, chosen)
    assert found.train.video_ids == ("clip00", "clip03", "b2"), "held-out clips stay held out, b's clip00 is not listed"
    assert found.val is not None
    assert found.val.video_ids == ("clip01", "clip05")
    rows = found.train.row_N
    assert rows.tolist() == [*range(5), *range(18, 26), *range(len(a) + 5, len(a) + 9)]
    assert np.array_equal(np.concatenate([a.latlon_deg, b.latlon_deg])[rows], found.train.latlon_deg)
    alone = split([a, b], [], None, 0)
    assert alone.train.video_ids == ("clip00", "clip02", "clip03"), (
        "without a list, a file without the label is left out"
    )
    drawn, with_list = split([a, b], [], 0.3, 0), split([a, b], [], 0.3, 0, listed("clip02", "b1", "clip04", "clip03"))
    assert drawn.val is not None and with_list.val is not None
    assert with_list.val.video_ids == drawn.val.video_ids
    assert set(with_list.train.video_ids) == {"clip02", "b1", "clip04", "clip03"} - set(drawn.val.video_ids)
    assert split([a], [b], None, 0, listed("clip05")).train.video_ids == ("clip05",)


def test_a_list_that_does_not_fit_says_so(tmp_path: Path) -> None:
    a = worlds.write_features(tmp_path / "a.h5", 3, labels=[{"split": name} for name in ("train", "train", "val")])
    with pytest.raises(UsageError, match=r"lists clips of .*other.h5, which is not among"):
        split([a], [], None, 0, listed("clip00", file=tmp_path / "other.h5"))
    with pytest.raises(FormatError, match="2 listed clips are not in the features, x first"):
        split([a], [], None, 0, listed("clip00", "x", "y"))
    with pytest.raises(FormatError, match="1 listed clips are not in the features, z first"):
        split([a], [], None, 0, listed("clip00", "z", file=tmp_path / "a.h5"))
    with pytest.raises(FormatError, match="no listed clip is left"):
        split([a], [], None, 0, listed("clip02"))
    with pytest.raises(FormatError, match="no listed clip is left"):
        split([a], [], 0, 0, [])


@pytest.mark.parametrize("resident", [True, False])
def test_damage_in_one_of_two_encoders_names_it(tmp_path: Path, resident: bool) -> None:
    encoders = {"gist": worlds.spec("gist", 8), "clip": worlds.spec("clip", 6)}
    with FeatureWriter(tmp_path / "f.h5", encoders, "1 Hz", "pyav") as writer:
        for video in ("a", "b"):
            features = {name: np.ones((3, spec.dim)) for name, spec in encoders.items()}
            writer.add(video, features, np.arange(3), np.full((3, 2), 50.0))
        writer.finish()
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["features/clip"][4, 2] = np.inf  # the writer refuses it
    opened = FeatureFile.open(tmp_path / "f.h5")
    with pytest.raises(FormatError, match=r"b: its clip features are not finite \(frame 1\); compute them again"):
        FeatureStore([opened], usable_frames([opened]), list(encoders), CPU, resident).batch(
            torch.arange(6)[None], torch.ones(1, 6, dtype=torch.bool)
        )


def test_without_a_gallery_the_positions_trained_on_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = worlds.write_features(tmp_path / "f.h5", 10)
    parts = split([file], [], 0.3, 0)
    assert parts.val is not None
    places = {tuple(place) for place in training_gallery(None, parts, "points").latlon_deg.tolist()}
    assert places == {tuple(place) for place in parts.train.latlon_deg.tolist()}
    assert not places & {tuple(place) for place in parts.val.latlon_deg.tolist()}
