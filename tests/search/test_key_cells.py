"""Cells of keys: every row in one of them, and no key above its cell's bound."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from vgeo.layers.location_encoder import LocationEncoder
from vgeo.search.cells import Cells, build_cells
from vgeo.search.partition import neighbourhoods


def towns(count: int, seed: int = 0) -> np.ndarray:
    """Places around a few centres, one across the antimeridian and one at a pole."""
    rng = np.random.default_rng(seed)
    centres = np.array([[48.2, 16.4], [-17.0, 179.999], [89.9, 0.0], [40.0, -74.0], [40.1, -74.1]])
    latlon = centres[rng.integers(len(centres), size=count)] + rng.normal(0, 0.02, (count, 2))
    latlon[:, 0] = latlon[:, 0].clip(-90, 90)
    latlon[:, 1] = (latlon[:, 1] + 180) % 360 - 180
    return latlon


def encoded(latlon: np.ndarray) -> torch.Tensor:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = LocationEncoder((16, 256), fourier=32, width=64, depth=1, dim=48)
        return F.normalize(encoder(torch.from_numpy(latlon)), dim=1)


@pytest.mark.parametrize("most", [1, 7, 100, 5000])
def test_every_row_is_in_one_cell_of_at_most_so_many(most: int) -> None:
    latlon = np.concatenate([towns(900), np.zeros((100, 2))])  # of which a hundred are the same
    cells = list(neighbourhoods(latlon, most))
    assert sorted(np.concatenate(cells)) == list(range(1000))
    assert max(map(len, cells)) <= most
    assert all((np.diff(rows) > 0).all() for rows in cells)


def test_towns_stay_whole() -> None:
    near = np.random.default_rng(0).normal(0, 0.001, (100, 2))
    latlon = near + np.where(np.arange(100)[:, None] < 60, (10, 20), (10, 21))
    cells = list(neighbourhoods(latlon, 64))
    assert sorted(map(len, cells)) == [40, 60]


def check_bound(cells: Cells, keys_GE: torch.Tensor, queries_NE: torch.Tensor) -> torch.Tensor:
    """Hold every key against its cell's bound, in float64; return the bounds less the best score of each cell."""
    bounds_NC = cells.bounds(queries_NE)
    assert sorted(cells.row_G.tolist()) == list(range(len(keys_GE)))
    assert torch.equal(cells.keys_GE, keys_GE[cells.row_G])
    assert cells.first[-1] == len(keys_GE)
    scores_NG = queries_NE.double() @ cells.keys_GE.double().T
    best = [scores_NG[:, a:b].amax(1) for a, b in zip(cells.first[:-1], cells.first[1:], strict=True)]
    above_NC = bounds_NC.double() - torch.stack(best, 1)
    assert bool((above_NC >= 0).all())
    return above_NC


@pytest.mark.parametrize("size", [1, 3, 40, 700])
@pytest.mark.parametrize("kind", ["smooth", "random", "equal", "wide"])
def test_no_key_scores_above_the_bound_of_its_cell(size: int, kind: str) -> None:
    latlon = towns(1500 if size > 1 else 200)
    generator = torch.Generator().manual_seed(size)
    keys = encoded(latlon)
    if kind == "random":
        keys = F.normalize(torch.randn(keys.shape, generator=generator), dim=1)
    elif kind == "equal":
        keys = keys[:1].expand_as(keys)
    elif kind == "wide":  # fewer dimensions than directions
        keys = F.normalize(torch.randn(len(keys), 3, generator=generator), dim=1)
    noise = torch.randn(300, keys.shape[1], generator=generator)
    queries = torch.cat([keys[:100], keys[:200] + 0.5 * noise[:200], -keys[:50], 100 * noise[:50], 0 * noise[:1]])
    # What a bound must stand most: queries along a cell's own axes.
    cells = build_cells(keys, latlon, size)
    axes = cells.planes_E[torch.randperm(len(cells.planes_E), generator=generator)[:200]]
    check_bound(cells, keys, torch.cat([queries, axes, -axes]))


def test_the_bound_is_tight_where_keys_are_smooth() -> None:
    """Far tighter than that of a ball around the centre, |q| r."""
    latlon = towns(4000)
    keys = encoded(latlon)
    queries = F.normalize(torch.randn(200, keys.shape[1], generator=torch.Generator().manual_seed(1)), dim=1)
    cells = build_cells(keys, latlon, 300)
    above = check_bound(cells, keys, queries)
    pairs = zip(cells.first[:-1], cells.first[1:], strict=True)
    radius = [(cells.keys_GE[a:b] - cells.keys_GE[a:b].mean(0)).norm(dim=1).amax() for a, b in pairs]
    assert above.mean() < 0.4 * float(torch.stack(radius).mean())


def test_keys_that_are_no_numbers_are_refused() -> None:
    latlon = towns(100)
    keys = encoded(latlon)
    keys[41, 3] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        build_cells(keys, latlon, 10)
