"""Sampling: the same numbers give the same frames, every item comes once, and frames keep their order."""

import numpy as np
import pytest

from vgeo.encoders._windows import Windows
from vgeo.training.sampling import one_ahead, own_part, plan_epoch, stream

FIRST = np.array([0, 5, 6, 26, 36])  # clips of 5, 1, 20 and 10 frames
CLIP_OF = np.repeat(np.arange(4), np.diff(FIRST))


def test_every_clip_comes_once_with_sorted_distinct_frames_of_its_own() -> None:
    plan = plan_epoch(FIRST, 8, 3, stream(0, 0, 0))
    assert plan.frame_IT.shape == (4, 8)
    clips = CLIP_OF[plan.frame_IT[:, 0]]
    assert sorted(clips) == [0, 1, 2, 3]
    for item, clip in enumerate(clips):
        kept = plan.frame_IT[item][plan.mask_IT[item]]
        assert len(kept) == min(8, FIRST[clip + 1] - FIRST[clip])
        assert (np.diff(kept) > 0).all()
        assert (CLIP_OF[plan.frame_IT[item]] == clip).all(), "padding repeats a frame of the same clip"
        assert plan.mask_IT[item].tolist() == [True] * len(kept) + [False] * (8 - len(kept))


def test_single_frames_are_a_permutation_of_all() -> None:
    plan = plan_epoch(FIRST, None, 10, stream(0, 0, 0))
    assert sorted(plan.frame_IT[:, 0]) == list(range(36))
    assert plan.frame_IT.shape == (36, 1)
    assert plan.mask_IT.all()


def test_subsets_are_uniform_over_the_clip() -> None:
    count = np.zeros(36)
    rounds = 4000
    for epoch in range(rounds):
        plan = plan_epoch(FIRST, 8, 4, stream(1, 0, epoch))
        count += np.bincount(plan.frame_IT[plan.mask_IT], minlength=36)
    share = count / rounds
    assert share[:6] == pytest.approx(1)  # whole clips
    # 8 of 20 and 8 of 10: five standard deviations of a binomial share
    assert share[6:26] == pytest.approx(np.full(20, 0.4), abs=5 * np.sqrt(0.4 * 0.6 / rounds))
    assert share[26:] == pytest.approx(np.full(10, 0.8), abs=5 * np.sqrt(0.8 * 0.2 / rounds))


def test_a_plan_is_a_function_of_seed_phase_and_epoch() -> None:
    def frames(*key: int) -> list:
        return plan_epoch(FIRST, 8, 3, stream(*key)).frame_IT.tolist()

    assert frames(3, 1, 7) == frames(3, 1, 7)
    others = [frames(4, 1, 7), frames(3, 0, 7), frames(3, 1, 8)]
    assert all(other != frames(3, 1, 7) for other in others)


@pytest.mark.parametrize(
    ("items", "batch", "sizes"), [(36, 10, [9] * 4), (36, 36, [36]), (36, 99, [36]), (36, 35, [18, 18])]
)
def test_steps_are_nearly_equal_and_never_larger_than_the_batch(items: int, batch: int, sizes: list[int]) -> None:
    plan = plan_epoch(np.array([0, items]), None, batch, stream(0, 0, 0))
    assert np.diff(plan.step_first).tolist() == sizes


def test_the_published_epoch_has_71_steps() -> None:
    # VidTAG on MSLS: 9,049 sequences of 16 frames, 128 a batch.
    plan = plan_epoch(np.arange(9050) * 16, 16, 128, stream(0, 0, 0))
    assert plan.steps == 71
    assert set(np.diff(plan.step_first)) == {127, 128}


def test_pieces_cover_a_step_without_empty_ones() -> None:
    plan = plan_epoch(np.array([0, 10]), None, 7, stream(0, 0, 0))
    for accumulate in (1, 2, 3, 5, 50):
        for step in range(plan.steps):
            parts = list(plan.pieces(step, accumulate))
            rows = [i for part in parts for i in range(part.start, part.stop)]
            assert rows == list(range(plan.step_first[step], plan.step_first[step + 1]))
            assert len(parts) == min(accumulate, len(rows))
            assert all(part.stop > part.start for part in parts)


def test_a_run_of_neighbours_is_any_of_a_clips_runs() -> None:
    # Written out: every run of 8 frames within its clip, and short clips whole.
    runs = {clip: [list(range(a, a + 8)) for a in range(FIRST[clip], FIRST[clip + 1] - 7)] for clip in (2, 3)}
    runs |= {clip: [list(range(FIRST[clip], FIRST[clip + 1]))] for clip in (0, 1)}
    count = {clip: np.zeros(len(some)) for clip, some in runs.items()}
    rounds = 4000
    for epoch in range(rounds):
        plan = plan_epoch(FIRST, 8, 3, stream(2, 0, epoch), contiguous=True)
        clips = CLIP_OF[plan.frame_IT[:, 0]]
        assert sorted(clips) == [0, 1, 2, 3]
        for frames, mask, clip in zip(plan.frame_IT, plan.mask_IT, clips, strict=True):
            count[clip][runs[clip].index(frames[mask].tolist())] += 1
            assert mask.tolist() == [True] * mask.sum() + [False] * (8 - mask.sum())
            assert (CLIP_OF[frames] == clip).all()
    for clip, seen in count.items():
        share = 1 / len(seen)
        assert seen / rounds == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / rounds)), clip


def test_a_window_is_any_of_a_clips_windows() -> None:
    """Windows of 8 one after the other: of 20 frames three, of 10 two, of short clips one that repeats its last."""
    windows = {
        0: [[0, 1, 2, 3, 4, 4, 4, 4]],
        1: [[5] * 8],
        2: [list(range(6, 14)), list(range(14, 22)), list(range(18, 26))],
        3: [list(range(26, 34)), list(range(28, 36))],
    }
    count = {clip: np.zeros(len(some)) for clip, some in windows.items()}
    rounds = 4000
    for epoch in range(rounds):
        plan = plan_epoch(FIRST, 8, 3, stream(2, 0, epoch), windows=Windows(length=8, rule="windows"))
        clips = CLIP_OF[plan.frame_IT[:, 0]]
        assert sorted(clips) == [0, 1, 2, 3]
        for frames, mask, clip in zip(plan.frame_IT, plan.mask_IT, clips, strict=True):
            count[clip][windows[clip].index(frames.tolist())] += 1
            true = {0: 5, 1: 1}.get(clip, 8)
            assert mask.tolist() == [True] * true + [False] * (8 - true)
    for clip, seen in count.items():
        share = 1 / len(seen)
        assert seen / rounds == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / rounds)), clip


def test_clips_of_one_length_draw_windows_of_their_own() -> None:
    first = np.arange(0, 1001, 100)
    plan = plan_epoch(first, 8, 10, stream(0, 0, 0), windows=Windows(length=8, rule="windows"))
    assert len(set(plan.frame_IT[:, 0] % 100)) > 3


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [1, 2, 6, 7])
def test_processes_share_a_piece_in_order_and_equally(items: int, processes: int) -> None:
    seen, sizes = [], set()
    for rank in range(processes):
        own, missing = own_part(slice(10, 10 + items), rank, processes)
        seen += list(range(own.start, own.stop)) + [None] * missing
        sizes.add(own.stop - own.start + missing)
    assert sizes == {-(-items // processes)}
    assert seen[:items] == list(range(10, 10 + items)), "what is filled up comes last"
    assert set(seen[items:]) <= {None}


@pytest.mark.parametrize("epochs", [range(0, 3), range(2, 3), range(3, 3)])
def test_plans_come_in_order_one_ahead(epochs: range) -> None:
    made = []

    def make(epoch: int) -> int:
        made.append(epoch)
        return epoch

    seen = [(plan, len(made)) for plan in one_ahead(make, epochs)]  # type: ignore[arg-type]
    assert [plan for plan, _ in seen] == list(epochs) == made
