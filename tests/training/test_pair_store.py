"""Clips with the tiles of their places, against plain loops over the videos."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pairmaker import SHAPE, Tiles, number_of, write_moments

from vgeo.device import Compute
from vgeo.errors import InputError
from vgeo.methods.base import Pairing, Recipe
from vgeo.training import frame_store
from vgeo.training.data import Frames, Usable, usable_frames
from vgeo.training.moment_set import MomentSet
from vgeo.training.pair_store import PairStore

CPU = Compute(torch.device("cpu"), torch.float32)
ANY = Usable(lambda file: np.ones(len(file.latlon_deg), bool), "is a second", "")
RATE_HZ, LENGTH = 15.0, 8


def recipe(batch: int = 4, **pairing: object) -> Recipe:
    return Recipe(
        epochs=1, batch_clips=batch, clip_frames=LENGTH, learning_rate=1e-3, decay_per_epoch=1.0, warmup_steps=0,
        pairing=Pairing(**pairing),  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def make() -> Iterator[object]:
    made: list[PairStore] = []

    def store(*sets: MomentSet, tiles: Tiles | None = None, frames: Frames | None = None) -> PairStore:
        some = frames or usable_frames(sets, ANY)
        made.append(PairStore(sets, some, tiles, SHAPE, CPU, length=LENGTH, rate_hz=RATE_HZ, workers=2))  # type: ignore[arg-type]
        return made[-1]

    yield store
    for one in made:
        one.close()


def test_a_clip_is_eight_pictures_from_its_second_on_with_the_tile_of_its_place(tmp_path: Path, make) -> None:
    one = write_moments(tmp_path / "a", [4, 3])
    store = make(one, tiles=Tiles(7))
    item = store.at_seconds(np.array([2, 5]))
    clips = store.batch(torch.from_numpy(item), torch.ones(item.shape, dtype=torch.bool))
    assert clips.frames_BTHWC is not None and clips.tiles_BSSC is not None and clips.latlon_deg is not None
    second_video = 60  # pictures of the first: 4 s at 15 Hz
    expected = [list(range(30, 38)), list(range(second_video + 15, second_video + 23))]
    assert number_of(clips.frames_BTHWC.numpy()).tolist() == expected
    assert number_of(clips.tiles_BSSC.numpy()).tolist() == [2, 5]
    assert clips.latlon_deg[:, 0].tolist() == one.latlon_deg[[2, 5]].tolist()
    assert clips.mask_BT.all() and clips.mask_BT.shape == (2, LENGTH)


def test_pictures_of_30_hz_are_taken_two_apart(tmp_path: Path, make) -> None:
    """Stride 2 at 30 frames a second, as published."""
    store = make(write_moments(tmp_path / "a", [3], rate_hz=30.0))
    assert store.pictures(np.array([1]), np.array([1.0])).tolist() == [list(range(30, 46, 2))]


def test_clips_stay_within_their_video(tmp_path: Path, make) -> None:
    store = make(write_moments(tmp_path / "a", [3, 2], tail_s=0.2))
    first = store.pictures(np.array([0, 3]), np.array([-0.4, -0.4]))
    assert first.tolist() == [list(range(8)), list(range(33, 41))]
    last = store.pictures(np.array([2, 4]), np.array([2.0, 1.0]))
    assert last.tolist() == [list(range(25, 33)), list(range(43, 51))]  # moved to where eight are left


def test_a_video_with_too_few_pictures_repeats_them(tmp_path: Path, make) -> None:
    store = make(write_moments(tmp_path / "a", [1], tail_s=0.2))  # three pictures
    assert store.pictures(np.array([0]), np.array([0.0])).tolist() == [[0, 1, 2, 2, 2, 2, 2, 2]]


def test_draws_over_many_epochs_are_those_of_the_published_code(tmp_path: Path, make) -> None:
    """Where clips begin and which seconds they are of, seen as sets over many epochs."""
    seconds = 40
    one = write_moments(tmp_path / "a", [seconds], rate_hz=2.0)  # few pictures, only times matter
    object.__setattr__(one, "picture_time_s", np.arange(len(one.picture_time_s)) / 2)
    store = make(one)
    seen: set[tuple[int, int]] = set()
    begins = []
    for epoch in range(3000):
        plan = store.draw(recipe(early_s=0.5, another=True), np.random.default_rng(epoch))
        assert plan.mask_IT.all() and plan.step_first.tolist() == [0, 2]
        (anchor, *_), (other, *_) = plan.frame_IT
        seen.add((int(anchor), int(other)))
        begins.append(plan.frame_IT[0, 1] / 2 - anchor)
    middle = seconds // 2
    assert {a for a, _ in seen} == set(range(1, seconds - 1)), "neither the first nor the last"
    for anchor in range(1, seconds - 1):
        others = {b for a, b in seen if a == anchor}
        expected = range(1, middle - 5) if anchor > middle else range(middle + 3, seconds - 1)
        assert others <= set(expected), f"of {anchor}: {others}"
    assert {b for _, b in seen} == set(range(1, middle - 5)) | set(range(middle + 3, seconds - 1))
    assert set(begins) == {-0.5}, "at 2 Hz a clip that begins up to half a second early shows the picture before"


def test_clips_begin_evenly_in_the_time_before_their_second(tmp_path: Path, make) -> None:
    store = make(write_moments(tmp_path / "a", [5] * 60))
    early = []
    for epoch in range(40):
        plan = store.draw(recipe(early_s=0.5), np.random.default_rng(epoch))
        moment, first = plan.frame_IT[:, 0], plan.frame_IT[:, 1]
        early.append(store._picture_time_s[first] - store._time_s[moment])
    early_s = np.concatenate(early)
    # On screen at a time in [s - 0.5, s) is one of the pictures at s - 8/15 (for the first 1/30 s) to s - 1/15.
    bins, counts = np.unique(np.round(early_s * RATE_HZ).astype(int), return_counts=True)
    assert bins.tolist() == [-8, -7, -6, -5, -4, -3, -2, -1]
    shares = counts / counts.sum()
    np.testing.assert_allclose(shares, [1 / 15, *[2 / 15] * 7], atol=0.02)
    at_once = store.draw(recipe(early_s=0.0), np.random.default_rng(0))
    moment, first = at_once.frame_IT[:, 0], at_once.frame_IT[:, 1]
    np.testing.assert_allclose(store._picture_time_s[first], store._time_s[moment], atol=1e-9)


def test_short_videos_have_some_hard_negative_and_those_of_one_second_none(tmp_path: Path, make) -> None:
    store = make(write_moments(tmp_path / "a", [1, 2, 5]))
    first = [0, 1, 3, 8]
    for epoch in range(50):
        plan = store.draw(recipe(another=True), np.random.default_rng(epoch))
        pairs = plan.frame_IT[:, 0].reshape(-1, 2)
        for (anchor, other), there in zip(pairs, plan.mask_IT[:, 0].reshape(-1, 2), strict=True):
            video = np.searchsorted(first, anchor, side="right") - 1
            assert there.tolist() == [True, video > 0]
            if video:
                assert anchor != other and first[video] <= other < first[video + 1]


def test_masked_items_come_black_wherever_they_are(tmp_path: Path, make) -> None:
    store = make(write_moments(tmp_path / "a", [3, 3]), tiles=Tiles(6))
    item = torch.from_numpy(store.at_seconds(np.array([1, 4, 2])))
    mask = torch.ones(item.shape, dtype=torch.bool)
    mask[1] = False
    clips = store.batch(item, mask)
    assert clips.frames_BTHWC is not None and clips.tiles_BSSC is not None
    assert number_of(clips.tiles_BSSC[[0, 2]].numpy()).tolist() == [1, 2]
    assert number_of(clips.frames_BTHWC[[0, 2]].numpy())[:, 0].tolist() == [15, 30]
    assert not clips.frames_BTHWC[1].any() and not clips.tiles_BSSC[1].any()
    assert clips.mask_BT.any(1).tolist() == [True, False, True]
    nothing = store.batch(item[:1], torch.zeros(1, item.shape[1], dtype=torch.bool))
    assert nothing.frames_BTHWC is not None and not nothing.frames_BTHWC.any() and len(nothing.frames_BTHWC) == 1


def test_an_epoch_has_each_video_once_in_even_steps(tmp_path: Path, make) -> None:
    one, two = write_moments(tmp_path / "a", [3] * 5), write_moments(tmp_path / "b", [4] * 2, first_tile=100)
    store = make(one, two, tiles=Tiles(200))
    assert store.steps(recipe(3)) == 3
    plan = store.draw(recipe(3, another=True), np.random.default_rng(0))
    assert plan.steps == 3 and np.diff(plan.step_first).tolist() == [4, 4, 6]
    videos = np.searchsorted(store.frames.clip_first, plan.frame_IT[:, 0], side="right") - 1
    assert (videos[0::2] == videos[1::2]).all(), "a hard negative stands next to its clip"
    assert sorted(videos[0::2]) == list(range(7))
    pieces = [slice(int(a), int(b)) for a, b in zip(plan.step_first, plan.step_first[1:], strict=False)]
    frame_IT, mask_IT = store.plan(plan, pieces)
    for piece in pieces:
        clips = store.batch(frame_IT[piece], mask_IT[piece])
        assert clips.tiles_BSSC is not None and clips.frames_BTHWC is not None
        rows = np.concatenate([one.tile_M, two.tile_M])[plan.frame_IT[piece, 0]]
        assert number_of(clips.tiles_BSSC.numpy()).tolist() == rows.tolist()
        offset = np.where(plan.frame_IT[piece, 1:] >= len(one.picture_time_s), len(one.picture_time_s), 0)
        assert (number_of(clips.frames_BTHWC.numpy()) == plan.frame_IT[piece, 1:] - offset).all()


def test_the_same_seed_draws_the_same(tmp_path: Path, make) -> None:
    store = make(write_moments(tmp_path / "a", [6] * 4))
    plans = [store.draw(recipe(early_s=0.5, another=True), np.random.default_rng(seed)).frame_IT for seed in (1, 1, 2)]
    assert (plans[0] == plans[1]).all() and (plans[0] != plans[2]).any()


def test_a_picture_that_is_gone_is_named(tmp_path: Path, make) -> None:
    one = write_moments(tmp_path / "a", [3])
    store = make(one)
    one.picture(17).unlink()
    item = store.at_seconds(np.array([1]))
    with pytest.raises(InputError, match=r"v0/017\.png.*--resume goes on"):
        store.batch(torch.from_numpy(item), torch.ones(item.shape, dtype=torch.bool))


def test_as_many_tiles_are_kept_as_fit_into_memory(tmp_path: Path, make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighths of what is free: of 1,600 bytes four tiles of 48, and of pictures two of 72."""
    monkeypatch.setattr(frame_store, "free_bytes", lambda device: 1600)
    tiles = Tiles(6)
    store = make(write_moments(tmp_path / "a", [6]), tiles=tiles)
    item = store.at_seconds(np.arange(6))
    for _ in range(3):
        store.batch(torch.from_numpy(item), torch.ones(item.shape, dtype=torch.bool))
    assert len(tiles.read_rows) == 6 + 2 * 2, "two of six are read each time"


def test_what_goes_on_after_a_picture_that_is_gone_is_said_as_it_is(tmp_path: Path, make) -> None:
    one = write_moments(tmp_path / "a", [3])
    store = PairStore(
        [one], usable_frames([one], ANY), None, SHAPE, CPU, length=LENGTH, rate_hz=RATE_HZ, after="run it again"
    )
    one.picture(17).unlink()
    item = store.at_seconds(np.array([1]))
    with pytest.raises(InputError, match=r"017\.png.*put a whole one there; run it again"):
        store.batch(torch.from_numpy(item), torch.ones(item.shape, dtype=torch.bool))
    store.close()
