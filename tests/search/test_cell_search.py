"""Search by cells against sorts and sums written out, and against the search of everything."""

import numpy as np
import pytest
import torch
from test_key_cells import encoded, towns
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.search import cell_search, exact
from vgeo.search.cell_search import CellSearch
from vgeo.search.cells import build_cells


def oracle(queries: Tensor, keys: Tensor, k: int) -> Tensor:
    """A full sort of float64 scores as float32; ties by row."""
    scores = (queries.double() @ keys.double().T).float()
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :k]


def asked(keys: Tensor, count: int, noise: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(keys), (count,), generator=generator)
    off = F.normalize(torch.randn(count, keys.shape[1], generator=generator), dim=1)
    return F.normalize(keys[rows] + noise * off, dim=1)


def galleries() -> dict[str, tuple[np.ndarray, Tensor]]:
    latlon = towns(3000)
    smooth = encoded(latlon)
    random = F.normalize(torch.randn(smooth.shape, generator=torch.Generator().manual_seed(5)), dim=1)
    twice = np.concatenate([latlon[:1000]] * 3)
    zeros = smooth.clone()
    zeros[::7] = 0
    return {
        "smooth": (latlon, smooth),
        "random": (latlon, random),
        "repeated": (twice, torch.cat([smooth[:1000]] * 3)),
        "all equal": (latlon, smooth[:1].expand_as(smooth).contiguous()),
        "zero vectors": (latlon, zeros),
        "one place": (np.zeros((3000, 2)), random),
        "one key": (latlon[:1], smooth[:1]),
    }


@pytest.mark.parametrize("kind", list(galleries()))
@pytest.mark.parametrize("k", [1, 5, 90])
def test_answers_are_those_of_a_full_sort(kind: str, k: int) -> None:
    latlon, keys = galleries()[kind]
    queries = torch.cat([asked(keys, 60, 0.0), asked(keys, 60, 1.0), asked(keys, 60, 8.0), torch.zeros(2, 48)])
    search = CellSearch(build_cells(keys, latlon, 150), keys, latlon)
    found, flat = search.top_k(queries, k), exact.top_k(queries, keys, k)
    k = min(k, len(keys))
    assert torch.equal(found.index_NK, oracle(queries, keys, k))
    assert torch.equal(found.index_NK, flat.index_NK)
    assert torch.equal(found.scores_NK, flat.scores_NK)
    assert search.best.queries == len(queries)
    if kind == "smooth" and k == 5:
        assert search.best.left < 80  # of those that are little but noise
        assert search.best.opened < 0.25 * len(keys) * len(queries)


def test_answers_do_not_depend_on_the_batch() -> None:
    latlon = towns(3000)
    keys = encoded(latlon)
    queries = asked(keys, 40, 1.0)
    together = CellSearch(build_cells(keys, latlon, 150), keys, latlon).top_k(queries, 5)
    for one in (0, 17, 39):
        alone = CellSearch(build_cells(keys, latlon, 50), keys, latlon).top_k(queries[one : one + 1], 5)
        assert torch.equal(alone.index_NK[0], together.index_NK[one])
        assert torch.equal(alone.scores_NK[0], together.scores_NK[one])


def test_it_is_caught_when_a_bound_is_too_low() -> None:
    """Without what is left over, keys are missed: the comparisons above can fail."""
    latlon, keys = galleries()["smooth"]
    cells = build_cells(keys, latlon, 150)
    cells.planes_E.view(len(cells), -1, keys.shape[1])[:, 1:].zero_()
    cells.left_C.zero_()
    queries = asked(keys, 300, 1.0)
    found = CellSearch(cells, keys, latlon).top_k(queries, 5)
    assert not torch.equal(found.index_NK, oracle(queries, keys, 5))


@pytest.mark.parametrize("scale", [20.0, 200.0])
def test_the_probability_is_that_of_the_whole_gallery(scale: float) -> None:
    latlon = towns(3000)
    keys = encoded(latlon)
    queries = torch.cat([asked(keys, 40, 0.1), asked(keys, 40, 1.0)])
    search = CellSearch(build_cells(keys, latlon, 50), keys, latlon)
    found = exact.top_k(queries, keys, 1, scale=scale)
    said = search.total(queries, found.scores_NK[:, 0], latlon[found.index_NK[:, 0]], scale=scale, within_km=1.0)
    assert found.log_total_N is not None
    whole = exact.probability_mass(queries, keys, latlon, found.index_NK[:, 0], found.log_total_N, scale=scale)
    total = torch.logsumexp(scale * queries.double() @ keys.double().T, 1)
    # Scores of unit vectors of 48 numbers in float32 are off by some 2e-7, whatever the weights drawn.
    assert torch.allclose(said.log_total_N, total, rtol=0, atol=2e-7 * scale)
    assert torch.allclose(said.spread.confidence_N, whole.confidence_N, rtol=4e-5)
    assert torch.equal(said.spread.radius_km_N, whole.radius_km_N)
    assert search.totals.queries == 80
    if scale == 200:
        assert search.totals.left < 60


def test_what_is_forgone_is_what_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a large share forgone, the total falls short by at most that much of the best key's probability."""
    monkeypatch.setattr(cell_search, "FORGONE", 0.1)
    latlon = towns(3000)
    keys = encoded(latlon)
    queries, scale = asked(keys, 80, 0.5), 60.0
    search = CellSearch(build_cells(keys, latlon, 50), keys, latlon)
    found = exact.top_k(queries, keys, 1)
    said = search.total(queries, found.scores_NK[:, 0], latlon[found.index_NK[:, 0]], scale=scale, within_km=1.0)
    scores = queries.double() @ keys.double().T
    missing = torch.logsumexp(scale * scores, 1).exp() - said.log_total_N.exp()
    assert bool((missing <= 0.1 * (scale * scores.amax(1)).exp() + 1e-4 * said.log_total_N.exp()).all())
    assert bool((missing > 1e-3 * (scale * scores.amax(1)).exp()).any())
