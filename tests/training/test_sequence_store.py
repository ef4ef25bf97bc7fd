"""Sequences of tiles with their regions."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pairmaker import Tiles, number_of

from vgeo.device import Compute
from vgeo.methods.base import Recipe
from vgeo.training.data import Frames
from vgeo.training.sequence_store import SequenceStore, sequence_of

CPU = Compute(torch.device("cpu"), torch.float32)


def recipe(length: int, kind: str, batch: int = 8) -> Recipe:
    return Recipe(
        epochs=1, batch_clips=batch, clip_frames=length, learning_rate=1e-3, decay_per_epoch=1.0, warmup_steps=0,
        sequence=kind,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def store() -> Iterator[SequenceStore]:
    lengths = [10, 3, 40]
    first = np.cumsum([0, *lengths])
    frames = Frames(np.arange(53), np.zeros((53, 2)), first, ("a", "b", "c"))
    true = np.split(np.arange(53), first[1:-1])
    predicted = [100 + rows for rows in true]
    one = SequenceStore(
        frames,
        {"true": true, "predicted": predicted},
        np.array([2, 0, 1]),
        Tiles(200),
        Tiles(3),
        CPU,
        workers=2,  # type: ignore[arg-type]
    )
    yield one
    one.close()


def test_true_sequences_begin_at_one_of_the_first_five_and_repeat_the_last(store: SequenceStore) -> None:
    starts: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for epoch in range(300):
        plan = store.draw(recipe(8, "true"), np.random.default_rng(epoch))
        assert sorted(plan.frame_IT[:, 0]) == [0, 1, 2] and plan.steps == 1
        for video, *rows in plan.frame_IT.tolist():
            last = [9, 12, 52][video]
            assert rows == [min(rows[0] + i, last) for i in range(8)]
            starts[video].add(rows[0] - [0, 10, 13][video])
    assert starts == {0: set(range(5)), 1: {0, 1, 2}, 2: set(range(5))}


def test_predicted_sequences_are_the_first_or_drawn_with_replacement(store: SequenceStore) -> None:
    seen: set[tuple[int, ...]] = set()
    for epoch in range(50):
        plan = store.draw(recipe(8, "predicted"), np.random.default_rng(epoch))
        for video, *rows in plan.frame_IT.tolist():
            if video == 1:
                assert set(rows) <= {110, 111, 112}
                seen.add(tuple(rows))
            else:
                assert rows == list(range(*((100, 108) if video == 0 else (113, 121))))
    assert len(seen) > 45, "drawn anew, not the same ones in a row"
    np.testing.assert_allclose(np.bincount(np.ravel(list(seen)) - 110) / (8 * len(seen)), 1 / 3, atol=0.1)


def test_batches_hold_the_tiles_and_the_region(store: SequenceStore) -> None:
    plan = store.draw(recipe(4, "true"), np.random.default_rng(0))
    frame_IT, mask_IT = store.plan(plan, [slice(0, 3)])
    padded = torch.cat([frame_IT, frame_IT[:1]])
    clips = store.batch(padded, torch.cat([mask_IT, torch.zeros_like(mask_IT[:1])]))
    assert clips.frames_BTHWC is not None and clips.tiles_BSSC is not None
    assert (number_of(clips.frames_BTHWC[:3].numpy()) == plan.frame_IT[:, 1:]).all()
    assert number_of(clips.tiles_BSSC[:3].numpy()).tolist() == [[2, 0, 1][video] for video in plan.frame_IT[:, 0]]
    assert clips.mask_BT.any(1).tolist() == [True] * 3 + [False]
    assert not clips.frames_BTHWC[3].any() and not clips.tiles_BSSC[3].any()


def test_a_sequence_in_use_is_always_the_same() -> None:
    rows = np.array([5, 7, 9])
    assert sequence_of(np.arange(50), 32).tolist() == list(range(32))
    drawn = sequence_of(rows, 32)
    assert len(drawn) == 32 and set(drawn) == {5, 7, 9} and (drawn == sequence_of(rows, 32)).all()
