"""Search within a video's regions gives what filtering the ranking of the whole gallery gives."""

import numpy as np
import pytest
import torch

from vgeo.search.hierarchical import top_k_within
from vgeo.search.members import NONE, Members


def published(queries, keys, video_N, regions_Vn, region_of_row, k):
    """The published way: rank everything, keep in order what is in one of the video's regions."""
    rows = []
    for query, video in zip(queries, video_N, strict=True):
        scores = [float(query @ key) for key in keys]
        order = sorted(range(len(keys)), key=lambda row: (-scores[row], row))
        kept = [row for row in order if any(r in region_of_row[row] for r in regions_Vn[video] if r != NONE)]
        rows.append(kept[:k] + [NONE] * (k - len(kept)))
    return np.array(rows)


def members_of(region_of_row, regions):
    parts = [[row for row, inside in enumerate(region_of_row) if r in inside] for r in range(regions)]
    return Members(
        first=np.cumsum([0, *map(len, parts)]), row=np.array([row for part in parts for row in part], np.int64)
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", [torch.tensor, np.asarray])
def test_same_as_filtering_the_whole_ranking(seed, kind):
    rng = np.random.default_rng(seed)
    keys = rng.integers(-2, 3, (90, 3)).astype(np.float32)  # few values: many ties, and exact sums
    queries = rng.integers(-2, 3, (40, 3)).astype(np.float32)
    region_of_row = [set(rng.choice(12, rng.integers(0, 3), replace=False).tolist()) for _ in keys]
    regions = np.stack([rng.permutation(12)[:4] for _ in range(5)])
    regions[1, 2:] = NONE
    regions[3] = NONE
    video = rng.integers(0, 5, 40)
    if seed % 2:
        video.sort()
    wanted = published(queries, keys, video, regions, region_of_row, 20)
    found = top_k_within(
        torch.tensor(queries), kind(keys), video, regions, members_of(region_of_row, 12), 20, scale=0.5
    )
    assert (found.index_NK.numpy() == wanted).all()
    assert (wanted[video == 3] == NONE).all()
    assert (wanted[:, -1] == NONE).any() and (wanted[:, -1] != NONE).any()
    scores = queries @ keys.T
    for n, row in enumerate(wanted):
        left = row[row >= 0]
        np.testing.assert_array_equal(found.scores_NK[n, : len(left)].numpy(), scores[n, left])
        assert (found.scores_NK[n, len(left) :] == -torch.inf).all()
        inside = [row for row, regions_ in enumerate(region_of_row) if regions_ & set(regions[video[n]].tolist())]
        total = np.log(np.exp(0.5 * scores[n, inside].astype(np.float64)).sum()) if inside else -np.inf
        assert float(found.log_total_N[n]) == pytest.approx(total, abs=1e-5)


def test_all_regions_are_the_whole_gallery():
    rng = np.random.default_rng(0)
    keys, queries = (torch.tensor(rng.normal(size=(n, 8)), dtype=torch.float32) for n in (50, 9))
    members = Members(first=np.array([0, 20, 50]), row=np.arange(50))
    found = top_k_within(queries, keys, np.zeros(9, int), np.array([[1, 0]]), members, 3)
    assert (found.index_NK == (queries @ keys.T).topk(3).indices).all()
    assert found.log_total_N is None


def test_a_tile_of_two_regions_is_found_once():
    members = Members(first=np.array([0, 2, 4]), row=np.array([0, 1, 1, 2]))
    assert members.rows_of(np.array([1, NONE, 0])).tolist() == [0, 1, 2]
    assert members.rows_of(np.array([NONE])).tolist() == []
    assert len(members) == 2
