"""Search by cells against flat float32 search: `python tests/benchmarks/bench_search.py`.

Keys of clustered places (see places.py) at 100 m by GeoCLIP's released location encoder, 0.3, 1 and 3 million of them;
queries are keys with isotropic noise of several levels. Then models that were trained on real street views, with the
views that were held out as queries, against 0.3 million places as far apart as suits the model. Every answer (rows,
their order, scores) is compared with flat search's. Keys are kept in --folder (12 GB); the largest gallery needs 20 GB.
"""

import argparse
import os
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from places import held_out_queries, keys_of, towns, trained, with_cambridge
from rows import Row, write_rows
from timing import interleaved
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.formats.geoclip_release import read_geoclip_release
from vgeo.methods.base import Retriever
from vgeo.methods.geoclip import GeoClip, GeoClipConfig
from vgeo.search.cell_search import CellSearch
from vgeo.search.cells import build_cells
from vgeo.search.exact import probability_mass, top_k

K = 5
NOISE = (0.5, 2.0, 3.0, 5.0)  # times the length of a key: the best score comes to 0.9, 0.45, 0.3, 0.2
SCALE = 39.7  # of the released model
SPACING_KM = {"released encoder": 0.1, "ladder of sigmas": 0.01}
FLAT = 256  # queries that flat search is timed with, all at once


class Case(NamedTuple):
    """Queries of one kind against one gallery."""

    name: str
    queries: Tensor
    scale: float
    real: bool


def released() -> Retriever:
    """The released GeoCLIP."""
    method = GeoClip(GeoClipConfig())
    method.load_released(read_geoclip_release().tensors)
    return method.eval()


def noisy(keys: NDArray[np.float32], count: int) -> list[Case]:
    """Keys with noise."""
    generator, cases = torch.Generator().manual_seed(0), []
    for level in NOISE:
        rows = torch.randint(len(keys), (count,), generator=generator)
        off = F.normalize(torch.randn(count, keys.shape[1], generator=generator), dim=1)
        queries = F.normalize(torch.from_numpy(keys[rows.numpy()]) + level * off, dim=1)
        cases.append(Case(f"noise {level:g}", queries, SCALE, False))
    return cases


def measure(
    title: str, keys: NDArray[np.float32], latlon: NDArray[np.float64], cases: list[Case], rounds: int
) -> list[Row]:
    """Rows of all kinds of queries against one gallery."""
    start = time.perf_counter()
    cells = build_cells(keys, latlon)
    build_s = time.perf_counter() - start
    everything = torch.from_numpy(keys)
    print(f"{title}: {len(keys):,} keys in {len(cells)} cells, made in {build_s:.1f} s", flush=True)
    return [row for case in cases for row in compare(title, case, cells, everything, latlon, rounds)]


def compare(title: str, case: Case, cells: object, keys: Tensor, latlon: NDArray[np.float64], rounds: int) -> list[Row]:
    """Rows of one kind of queries."""
    search = CellSearch(cells, keys, latlon)  # type: ignore[arg-type]
    count, few = len(case.queries), case.queries[:FLAT]
    found = search.top_k(case.queries, K)
    flat = top_k(case.queries, keys, K)
    same = int(((found.index_NK == flat.index_NK) & (found.scores_NK == flat.scores_NK)).all(1).sum())
    opened = search.best.opened / max(1, count - search.best.left) / len(keys)
    left = search.best.left
    ways = {
        "cells": lambda: search.top_k(case.queries, K),
        "torch": lambda: (few @ keys.T).topk(K),
    }
    if find_spec("faiss"):
        import faiss

        ways["faiss"] = lambda: faiss.knn(few.numpy(), keys.numpy(), K, metric=faiss.METRIC_INNER_PRODUCT)
    seconds = interleaved(ways, rounds)
    rate = {name: (count if name == "cells" else len(few)) / s for name, s in seconds.items()}
    goal = ">= 20"
    said = f"{100 * opened:.2f} % of the keys compared, {left} of {count} queries left to flat search"
    note = f"identical: {same} of {count}; {said}"
    rows = [
        Row(
            step=f"search, {title}, {case.name}",
            against=f"{name}, flat float32" + (" (faiss.knn, as IndexFlatIP)" if name == "faiss" else ""),
            value=rate["cells"] / value,
            goal=goal,
            figures=f"{rate['cells']:,.0f}, {value:,.0f} queries/s",
            note=note,
        )
        for name, value in rate.items()
        if name != "cells"
    ]
    rows.append(Row(f"search, {title}, {case.name}", "flat search: answers that are the same", same / count, "= 1.0"))
    for row in rows:
        print(f"  {case.name:12s} {row.value:7.2f} x {row.against}: {row.figures}; {row.note}", flush=True)
    if case.real:
        totals(search, case, keys, latlon)
    return rows


def totals(search: CellSearch, case: Case, keys: Tensor, latlon: NDArray[np.float64]) -> None:
    """Say what cells do for the probabilities, on 64 queries."""
    some = case.queries[:64]
    flat = top_k(some, keys, 1, scale=case.scale)
    assert flat.log_total_N is not None
    answers = flat.index_NK[:, 0]
    whole = probability_mass(some, keys, latlon, answers, flat.log_total_N, scale=case.scale)
    said = search.total(some, flat.scores_NK[:, 0], latlon[answers.numpy()], scale=case.scale, within_km=1.0)
    digits = [f"{a:.6g}" == f"{b:.6g}" for a, b in zip(said.spread.confidence_N, whole.confidence_N, strict=True)]
    print(
        f"  {'':12s} scale {case.scale:.1f}, best score {float(flat.scores_NK.median()):.2f}: probabilities of "
        f"{search.totals.left} of 64 queries left to flat search; {sum(digits)} confidences equal to 6 digits",
        flush=True,
    )


def main() -> None:
    """Measure all galleries, the smallest first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, nargs="+", default=[300_000, 1_000_000, 3_000_000])
    parser.add_argument("--real", type=int, default=300_000, help="places of the trained models' galleries; 0: none")
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        folder = given.folder or Path(scratch)
        if given.keys:
            latlon = towns(max(given.keys), 0.1)
            keys = keys_of(released(), latlon, folder / f"released-{len(latlon)}.npy")
            for count in sorted(given.keys):
                part = keys[:count]
                title = f"{count / 1e6:g} M places"
                rows += measure(title, part, latlon[:count], noisy(part, given.queries), given.rounds)
        for name, spacing_km in SPACING_KM.items() if given.real else ():
            method = trained(name, folder)
            latlon = with_cambridge(towns(given.real, spacing_km), spacing_km)
            keys = keys_of(method, latlon, folder / f"{name.replace(' ', '-')}-{given.real}.npy")
            case = Case("real views", held_out_queries(method), method.scale, True)
            title = f"{given.real / 1e6:g} M places {1000 * spacing_km:g} m apart, trained {name}"
            rows += measure(title, keys, latlon, [case], given.rounds)
    write_rows(given.json, rows)


if __name__ == "__main__":
    main()
