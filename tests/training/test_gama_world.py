"""The experiment on GAMa's components: its figures by other means, and all of it on a tiny world."""

import json
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch

from vgeo.formats.gallery import Gallery

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import bench_gama_world as experiment
import gama_world_search as searching


def searched(places: int, rng: np.random.Generator) -> searching.Searched:
    """A query at each of some places within 400 m."""
    at = np.array([52.0, 0.0]) + rng.uniform(-0.0018, 0.0018, (places, 2))
    return searching.Searched(
        queries=torch.zeros(places, 1), keys=torch.zeros(places, 1), gallery=Gallery(latlon_deg=at),
        true=np.arange(places), place_deg=at, time_s=np.arange(places, dtype=float), video=np.zeros(places, np.int64),
        videos=("a",),
    )  # fmt: skip


@pytest.mark.parametrize("ucn", [False, True])
def test_chance_is_what_random_rankings_have(ucn: bool) -> None:
    rng = np.random.default_rng(0)
    found = searched(40, rng)
    drawn = [searching.figures(np.stack([rng.permutation(40) for _ in range(40)]), found, ucn) for _ in range(400)]
    expected = searching.chance(found.place_deg, found.true, found.gallery, ucn)
    for name in ("exact", "R@1", "R@5", "R@10", "R@1%", "0.1 mi", "1.0 mi"):
        assert np.mean([one[name] for one in drawn]) == pytest.approx(expected[name], abs=1.5), name


def test_chance_in_the_right_city() -> None:
    """Two cities of two tiles each, 55.6 m apart in the first and 556 m in the second."""
    at = np.array([[52.0, 0.0], [52.0005, 0.0], [10.0, 0.0], [10.005, 0.0]])
    found = searching.chance(at, np.arange(4), Gallery(latlon_deg=at), within_mi=5)
    assert (found["exact"], found["R@1"], found["R@5"], found["1.0 mi"]) == (50, 75, 100, 100)


def test_figures_by_hand() -> None:
    """Tiles 0, 55.6 and 5,560 m north of the query: the second counts at 0.05 mile, but is not the own one."""
    at = np.array([[52.0, 0.0], [52.0005, 0.0], [52.05, 0.0]])
    found = searching.Searched(
        queries=torch.zeros(1, 1), keys=torch.zeros(3, 1), gallery=Gallery(latlon_deg=at), true=np.array([0]),
        place_deg=at[:1], time_s=np.zeros(1), video=np.zeros(1, np.int64), videos=("a",),
    )  # fmt: skip
    near = searching.figures(np.array([[1, 2, 0]]), found)
    assert (near["exact"], near["R@1"], near["0.1 mi"]) == (0, 100, 100)
    assert near["median m"] == pytest.approx(55.6, abs=0.1)
    assert np.isnan(near["R@5"])  # a gallery of three
    far = searching.figures(np.array([[2, 1, 0]]), found)
    assert (far["R@1"], far["1.0 mi"]) == (0, 0)
    assert searching.figures(np.array([[1, 0, 2]]), found, ucn=True)["R@1"] == 0


def test_a_path_leaves_out_what_cannot_be_reached() -> None:
    """Five seconds along a street; in the middle one, a tile 5 km off is a little better."""
    street = np.array([52.0, 0.0]) + np.outer(np.arange(5), [0.0001, 0])
    at = np.concatenate([street, [[52.05, 0.0]]])
    found = searching.Searched(
        queries=torch.zeros(5, 1), keys=torch.zeros(6, 1), gallery=Gallery(latlon_deg=at), true=np.arange(5),
        place_deg=street, time_s=np.arange(5.0), video=np.zeros(5, np.int64), videos=("a",),
    )  # fmt: skip
    order = np.array([[k, 5] for k in range(5)])
    order[2] = [5, 2]
    scores = torch.tensor([[1.0, 0.9]] * 5)
    chosen = searching.path(found, order, scores, torch.logsumexp(10 * scores.double(), 1), 10.0)
    assert chosen[:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_the_whole_table_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with chdir(tmp_path):
        experiment.prepare(experiment.QUICK, 0, False)
        assert "8 drives of 6 s (48 clips and tiles) to learn from" in experiment.describe(experiment.QUICK, 0)
        experiment.measure("gama", experiment.QUICK, 0, False)
        weights = Path("models/gama-0/model.safetensors")
        made = weights.stat().st_mtime_ns
        experiment.table(["image", "gama", "cbn-ucn"], experiment.QUICK, [0], False)
        assert weights.stat().st_mtime_ns == made
        searches = json.loads(Path("searches-0.json").read_text())
    said = capsys.readouterr().out
    for name in ("chance, UCN", "Image-CBn", "GAMa-Net", "… Viterbi", "… Hierarchical 10%, predicted", "CBn, UCN"):
        assert f"| {name} |" in said
    assert 0 <= searches["regions, true"]["R@1"] <= searches["regions, true"]["R@5"] <= 100
