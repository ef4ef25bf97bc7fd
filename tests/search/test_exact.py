"""Exact search against sorts and sums written out, and against GeoCLIP's published answers."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from vgeo.geo import sphere
from vgeo.search.exact import probability_mass, top_k


def random_units(rows: int, width: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize(("keys", "chunk"), [(7, 3), (5000, 700), (5000, 32768), (20_000, 4096)])
def test_top_k_equals_a_full_sort(keys: int, chunk: int) -> None:
    queries_NE, keys_GE = random_units(40, 16, 0), random_units(keys, 16, 1)
    found = top_k(queries_NE, keys_GE, 5, chunk=chunk)
    scores = queries_NE.double() @ keys_GE.double().T
    expected = scores.sort(dim=1, descending=True).indices[:, :5]
    assert torch.equal(found.index_NK, expected)
    assert torch.allclose(found.scores_NK.double(), scores.gather(1, expected), atol=1e-6)


def test_ties_go_to_the_lowest_row_across_blocks_and_chunks() -> None:
    """Small whole numbers make every product exact, so that most scores are tied."""
    generator = torch.Generator().manual_seed(2)
    queries_NE = torch.randint(-1, 2, (30, 4), generator=generator).float()
    keys_GE = torch.randint(-1, 2, (9000, 4), generator=generator).float()
    expected = (queries_NE @ keys_GE.T).sort(dim=1, descending=True, stable=True)
    for chunk in (64, 1000, 3000, 10_000):
        found = top_k(queries_NE, keys_GE, 6, chunk=chunk)
        assert torch.equal(found.index_NK, expected.indices[:, :6])
        assert torch.equal(found.scores_NK, expected.values[:, :6])


def test_a_tie_is_not_won_by_standing_beside_a_better_key() -> None:
    """The best key, late in the gallery, has a neighbour that ties with a key of an early block."""
    scores = torch.zeros(10_000)
    scores[70], scores[9000], scores[9001] = 2, 3, 2
    found = top_k(torch.ones(1, 1), scores[:, None], 2)
    assert found.index_NK.tolist() == [[9000, 70]]


def test_fewer_keys_than_asked_for_and_none() -> None:
    assert top_k(random_units(3, 8, 0), random_units(4, 8, 1), 10).index_NK.shape == (3, 4)
    with pytest.raises(ValueError, match="at least 1"):
        top_k(random_units(3, 8, 0), torch.empty(0, 8), 1)
    assert top_k(torch.empty(0, 8), random_units(4, 8, 1), 2).index_NK.shape == (0, 2)


def test_keys_are_read_from_a_memory_map(tmp_path) -> None:  # type: ignore[no-untyped-def]
    keys_GE = random_units(3000, 16, 1)
    np.save(tmp_path / "keys.npy", keys_GE.numpy())
    mapped = np.load(tmp_path / "keys.npy", mmap_mode="r")
    queries_NE = random_units(10, 16, 0)
    found, expected = top_k(queries_NE, mapped, 3, chunk=999), top_k(queries_NE, keys_GE, 3)
    assert torch.equal(found.index_NK, expected.index_NK)


def test_autocast_does_not_reach_the_search() -> None:
    queries_NE, keys_GE = random_units(20, 64, 0), random_units(500, 64, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = top_k(queries_NE, keys_GE, 3)
    assert torch.equal(found.scores_NK, top_k(queries_NE, keys_GE, 3).scores_NK)


@pytest.mark.parametrize("chunk", [100, 8192])
def test_probability_mass_equals_a_plain_softmax(chunk: int) -> None:
    rng = np.random.default_rng(3)
    near = np.array([48.2, 16.37]) + rng.normal(0, 0.01, (400, 2))  # about 1 km around
    far = np.stack([rng.uniform(-80, 80, 600), rng.uniform(-180, 180, 600)], 1)
    latlon_deg = np.concatenate([near, far, near[:50]])
    queries_NE, keys_GE, scale = random_units(25, 16, 0), random_units(len(latlon_deg), 16, 1), 12.0
    found = top_k(queries_NE, keys_GE, 5, scale=scale, chunk=333)
    assert found.log_total_N is not None
    spread = probability_mass(
        queries_NE, keys_GE, latlon_deg, found.index_NK[:, 0], found.log_total_N, scale=scale, chunk=chunk
    )
    share = torch.softmax(scale * queries_NE.double() @ keys_GE.double().T, 1).numpy()
    top = torch.exp(scale * found.scores_NK.double() - found.log_total_N[:, None]).numpy()
    assert np.allclose(top, np.sort(share, 1)[:, ::-1][:, :5], rtol=1e-5)
    for row, answer in enumerate(share.argmax(1)):
        distance = sphere.distance_km(latlon_deg[answer], latlon_deg)
        assert spread.confidence_N[row].item() == pytest.approx(share[row][distance <= 1].sum(), rel=1e-5)
        order = np.argsort(distance)
        radius = distance[order][np.searchsorted(share[row][order].cumsum(), 0.5)]
        true_chord, chord = (np.sin(km / sphere.EARTH_RADIUS_KM / 2) for km in (radius, spread.radius_km_N[row].item()))
        assert true_chord <= chord <= true_chord * 1.031


def test_a_certain_answer_has_confidence_one_and_no_radius() -> None:
    keys_GE = torch.eye(4)
    latlon_deg = np.array([[0.0, 0], [0, 180], [90, 0], [-90, 0]])
    found = top_k(keys_GE, keys_GE, 1, scale=100.0)
    assert found.log_total_N is not None
    spread = probability_mass(keys_GE, keys_GE, latlon_deg, found.index_NK[:, 0], found.log_total_N, scale=100.0)
    assert spread.confidence_N.tolist() == pytest.approx([1.0] * 4)
    assert spread.radius_km_N.tolist() == [0.0] * 4


def test_no_preference_reaches_halfway_round_the_earth() -> None:
    """All keys alike: half of the mass lies within the median distance, and antipodes do not break the bins."""
    latlon_deg = np.array([[0.0, 0], [0, 180], [0, 90], [0, -90]])
    queries_NE, keys_GE = torch.ones(1, 1), torch.ones(4, 1)
    found = top_k(queries_NE, keys_GE, 1, scale=5.0)
    assert found.log_total_N is not None
    assert found.index_NK.tolist() == [[0]]
    spread = probability_mass(queries_NE, keys_GE, latlon_deg, found.index_NK[:, 0], found.log_total_N, scale=5.0)
    assert spread.confidence_N.item() == pytest.approx(0.25)
    assert 10_007 <= spread.radius_km_N.item() <= 10_007.6 * 1.05
