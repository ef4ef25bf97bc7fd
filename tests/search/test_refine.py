"""Refined search against the full fine lattice, and its probabilities against sums written out."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.geo.grid import Box, grid
from vgeo.geo.lattice import Lattice
from vgeo.geo.sphere import KM_PER_DEG, distance_km, unit_vectors
from vgeo.search.exact import top_k
from vgeo.search.refine import Plan, RefinedSearch, Step, fitting_level, plan, typical_spacing_km

Floats = NDArray[np.float64]
SCALES = (5.0, 12.0, 30.0)


def waves(lengths_km: tuple[float, ...]) -> Callable[[Floats, int], Tensor]:
    """Keys that are smooth over the last of the first `level + 1` lengths; random Fourier features on the sphere."""
    rng = np.random.default_rng(0)
    rates = [rng.normal(size=(3, 24)) * 6371 / length for length in lengths_km]

    def embed(latlon_deg: Floats, level: int) -> Tensor:
        points = unit_vectors(latlon_deg)
        parts = [f(points @ rate) for rate in rates[: level + 1] for f in (np.cos, np.sin)]
        keys = np.concatenate([*parts, np.zeros((len(points), 48 * (len(rates) - level - 1)))], axis=1)
        return F.normalize(torch.from_numpy(keys), dim=1).float()

    return embed


def cells_of(steps: Plan, gallery: Floats) -> Floats:
    """All cells of the finest lattice that the whole gallery leads to, by looking at every cell of the Earth."""

    def all_cells(lattice: Lattice) -> NDArray[np.int64]:
        rows = np.arange(lattice.rows)
        return np.array([(r, c) for r, n in zip(rows, lattice.columns(rows), strict=True) for c in range(n)])

    first = steps.steps[0].lattice
    middles = first.latlon_deg(all_cells(first))
    kept = {tuple(cell) for cell in all_cells(first)[(distance_km(middles[:, None], gallery) <= steps.reach_km).any(1)]}
    for (coarse, _), (fine, _) in zip(steps.steps, steps.steps[1:], strict=False):
        cells = all_cells(fine)
        latlon = fine.latlon_deg(cells)
        row = np.floor((latlon[:, 0] + 90) / 180 * coarse.rows).astype(np.int64)
        column = np.floor((latlon[:, 1] + 180) / 360 * coarse.columns(row)).astype(np.int64)
        kept = {tuple(c) for c, parent in zip(cells, zip(row, column, strict=True), strict=True) if parent in kept}
    return steps.steps[-1].lattice.latlon_deg(np.array(sorted(kept)))


BOXES = {
    "equator": Box(south_deg=-8.0, north_deg=9.0, west_deg=20.0, width_deg=17.0),
    "antimeridian": Box(south_deg=-20.0, north_deg=-4.0, west_deg=171.0, width_deg=18.0),
    "pole": Box(south_deg=78.0, north_deg=90.0, west_deg=-180.0, width_deg=360.0),
}


@pytest.mark.parametrize("where", BOXES)
def test_a_wide_beam_finds_what_the_full_fine_gallery_has(where: str) -> None:
    gallery = grid(BOXES[where], 300.0)
    embed = waves((900.0, 250.0, 80.0))
    spacing = typical_spacing_km(gallery, 300.0)
    assert spacing is not None
    steps = plan(spacing, 37.0, (900.0, 200.0, 50.0))
    assert [step.level for step in steps.steps] == [1, 2]
    keys = embed(gallery, steps.level)
    fine = cells_of(steps, gallery)
    rng = np.random.default_rng(1)
    queries = embed(fine[rng.integers(len(fine), size=40)] + rng.normal(size=(40, 2)) * 0.1, 2)

    found = RefinedSearch(keys, gallery, embed, SCALES, steps, beam=10_000)(queries, 7, within_km=100.0)
    exact = top_k(queries, embed(fine, 2), 7, scale=SCALES[2])
    assert np.array_equal(found.candidates_deg, fine[exact.index_NK.numpy()])
    share = torch.softmax(SCALES[2] * (queries @ embed(fine, 2).T).double(), 1).numpy()
    assert np.allclose(found.probability_NK, np.take_along_axis(share, exact.index_NK.numpy(), 1), rtol=1e-4)
    near = distance_km(found.candidates_deg[:, :1], fine[None]) <= 100
    assert np.allclose(found.spread.confidence_N.numpy(), (share * near).sum(1), rtol=1e-4)
    # Its cells lie near one another across the line or the pole, and every place of the box is near to one.
    box = BOXES[where]
    somewhere = rng.uniform(size=(200, 2))
    places = np.stack(
        [
            box.south_deg + somewhere[:, 0] * (box.north_deg - box.south_deg),
            (box.west_deg + somewhere[:, 1] * box.width_deg + 180) % 360 - 180,
        ],
        axis=1,
    )
    assert distance_km(places[:, None], fine).min(1).max() < 37.0 / math.sqrt(2)


def test_probability_is_handed_down() -> None:
    """A narrow beam, three queries: every cell's share written out, as sums over lists."""
    gallery = grid(BOXES["equator"], 300.0)
    embed = waves((900.0, 250.0, 80.0))
    steps = plan(300.0, 37.0, (900.0, 200.0, 50.0))
    queries = embed(np.array([(0.0, 25.0), (0.5, 25.5), (-5.0, 33.0)]), 2)
    found = RefinedSearch(embed(gallery, 1), gallery, embed, SCALES, steps, beam=2)(queries, 4, rows=3, within_km=500)

    (one, level_one), (two, level_two) = steps.steps
    first = (queries @ embed(gallery, steps.level).T).double().numpy() * SCALES[steps.level]
    kept = sorted({row for scores in first for row in np.argsort(-scores)[:2]})
    cells = one.around(gallery[kept], steps.reach_km)
    second = (queries @ embed(one.latlon_deg(cells), level_one).T).double().numpy() * SCALES[level_one]
    kept_cells = sorted({row for scores in second for row in np.argsort(-scores)[:2]})
    fine = two.latlon_deg(two.within(one, cells[kept_cells]))
    third = (queries @ embed(fine, level_two).T).double().numpy() * SCALES[level_two]
    for n in range(3):
        places, shares = [], []
        mass = 1.0
        for scores, latlon, divided in (
            (first[n], gallery, kept),
            (second[n], one.latlon_deg(cells), kept_cells),
            (third[n], fine, []),
        ):
            share = mass * np.exp(scores) / np.exp(scores).sum()
            mass = share[divided].sum()
            places += [place for row, place in enumerate(latlon) if row not in divided]
            shares += [value for row, value in enumerate(share) if row not in divided]
        assert sum(shares) == pytest.approx(1)
        best = np.argsort(-third[n])[:4]
        assert np.array_equal(found.candidates_deg[n], fine[best])
        assert np.allclose(found.probability_NK[n], np.array(shares[-len(fine) :])[best], rtol=1e-4)
        near = distance_km(np.array(places), fine[best[0]]) <= 500
        assert found.spread.confidence_N[n].item() == pytest.approx(np.array(shares)[near].sum(), rel=1e-4)
        by_distance = np.argsort(distance_km(np.array(places), fine[best[0]]))
        half = np.searchsorted(np.cumsum(np.array(shares)[by_distance]), 0.5)
        half_km = distance_km(np.array(places)[by_distance[half]], fine[best[0]])
        assert half_km <= found.spread.radius_km_N[n].item() <= 1.035 * half_km + 1e-3
        assert found.index_NK[n].tolist() == np.argsort(-first[n])[:3].tolist()
        assert np.allclose(
            found.row_probability_NK[n], np.sort(np.exp(first[n]) / np.exp(first[n]).sum())[::-1][:3], rtol=1e-4
        )


def test_best_is_the_first_candidate_and_every_cell_is_embedded_once() -> None:
    gallery = grid(BOXES["antimeridian"], 300.0)
    embed, seen = waves((900.0, 250.0, 80.0)), []

    def counted(latlon_deg: Floats, level: int) -> Tensor:
        seen.append((latlon_deg, level))
        return embed(latlon_deg, level)

    steps = plan(300.0, 10.0, (900.0, 200.0, 50.0))
    search = RefinedSearch(embed(gallery, steps.level), gallery, counted, SCALES, steps, beam=3)
    queries = embed(gallery[[5, 6, 5, 30]] + 0.3, 2)
    best = search.best(queries)
    assert [level for _, level in seen] == [step.level for step in steps.steps]
    for latlon, _ in seen:
        assert len(np.unique(latlon, axis=0)) == len(latlon)
    assert np.array_equal(best, search(queries, 3).candidates_deg[:, 0])
    assert np.array_equal(best[0], best[2])


def test_guides_lead_a_query_that_is_deaf_at_coarse_levels() -> None:
    """The query sees fine waves only, as GeoRefiner's does; the guide sees coarse ones as well."""
    gallery = grid(BOXES["equator"], 300.0)
    embed = waves((900.0, 250.0, 80.0))
    steps = plan(300.0, 20.0, (900.0, 200.0, 50.0))
    search = RefinedSearch(embed(gallery, steps.level), gallery, embed, SCALES, steps, beam=1)
    places = np.random.default_rng(3).uniform(-6, 6, (30, 2)) + np.array([0, 28])
    guides = embed(places, 2)
    deaf = guides.clone()
    deaf[:, :96] = 0.01 * torch.randn(30, 96, generator=torch.Generator().manual_seed(0))
    alone, led = (
        np.concatenate([search(q[None], 1, guides_NE=guide).candidates_deg[:, 0] for q, guide in pairs])
        for pairs in ([(q, None) for q in deaf], [(q, g[None]) for q, g in zip(deaf, guides, strict=True)])
    )
    assert (distance_km(led, places) < 30).mean() > 0.9
    assert (distance_km(alone, places) < 30).mean() < 0.5
    everywhere = search(deaf, 1, guides_NE=guides, within_km=21_000)
    assert torch.allclose(everywhere.spread.confidence_N, torch.ones(30, dtype=torch.float64), atol=1e-5)


def test_many_queries_are_searched_for_in_parts() -> None:
    gallery = grid(BOXES["equator"], 300.0)
    embed = waves((900.0, 250.0, 80.0))
    steps = plan(300.0, 75.0, (900.0, 200.0, 50.0))
    search = RefinedSearch(embed(gallery, steps.level), gallery, embed, SCALES, steps, beam=10_000)
    queries = embed(np.random.default_rng(0).uniform(-5, 5, (300, 2)) + np.array([0, 28]), 2)
    together, apart = search(queries, 3), [search(part, 3) for part in queries.split(7)]
    assert together.candidates_deg.shape == (300, 3, 2)
    assert np.array_equal(together.candidates_deg, np.concatenate([one.candidates_deg for one in apart]))
    confidence = torch.cat([one.spread.confidence_N for one in apart])
    assert torch.allclose(together.spread.confidence_N, confidence, atol=1e-6)


def test_plans() -> None:
    radii = (1.0, 0.2, 0.05, 0.01)
    made = plan(1.0, 0.01, radii)
    assert made.level == 0
    assert [step.lattice.spacing_km for step in made.steps] == pytest.approx([0.215, 0.0464, 0.01], rel=0.01)
    assert [step.level for step in made.steps] == [1, 2, 3]
    assert plan(0.03, 0.02, radii).steps == (Step(Lattice(0.02), 3),)
    assert fitting_level(1e4, radii) == 0
    assert fitting_level(0.1, radii) == 1  # as near to 0.2 as to 0.05
    with pytest.raises(ValueError, match="no refinement"):
        plan(0.01, 0.01, radii)


def test_how_far_places_are_apart() -> None:
    box = Box(south_deg=50.0, north_deg=50.2, west_deg=179.9, width_deg=0.4)
    assert typical_spacing_km(grid(box, 0.5)) == pytest.approx(0.5, rel=0.05)
    # Four rows for 0.85 km at 0.2 km stand 0.28 km apart; the fourth nearest of an edge is over the corner.
    small = Box(south_deg=52.2, north_deg=52.2 + 0.85 / KM_PER_DEG, west_deg=0.1, width_deg=0.0125)
    assert 0.28 <= (typical_spacing_km(grid(small, 0.2), 0.2) or 0) <= 0.28 * 1.5
    # Single points of two regions, far apart: what the grid says of itself, stretched by rounding.
    far = np.array([(0.0, 0.0), (50.0, 50.0), (-20.0, 10.0), (20.0, 100.0), (60.0, -100.0)])
    assert typical_spacing_km(far, 1.0) == 1.5
    assert typical_spacing_km(far[:1], 1.0) == 1.5
    four = np.array([(0.0, 0.0), (0.0, 2.4), (2.4, 0.0), (2.4, 2.4)]) / KM_PER_DEG
    assert typical_spacing_km(four, 1.0) == pytest.approx(2.4)
    assert typical_spacing_km(far[:1]) is None
    dense = np.array([(1e-5 * i, 2e-5 * j) for i in range(40) for j in range(40)])
    assert typical_spacing_km(dense) == pytest.approx(2e-5 * KM_PER_DEG, rel=0.02)


def test_keys_in_a_memory_map(tmp_path) -> None:  # type: ignore[no-untyped-def]
    gallery = grid(BOXES["equator"], 300.0)
    embed = waves((900.0, 250.0, 80.0))
    steps = plan(300.0, 75.0, (900.0, 200.0, 50.0))
    keys = embed(gallery, steps.level)
    np.save(tmp_path / "keys.npy", keys.numpy())
    queries = embed(gallery[:9] + 0.2, 2)
    mapped = RefinedSearch(np.load(tmp_path / "keys.npy", mmap_mode="r"), gallery, embed, SCALES, steps, 4)
    assert np.array_equal(mapped.best(queries), RefinedSearch(keys, gallery, embed, SCALES, steps, 4).best(queries))
