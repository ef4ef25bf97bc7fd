"""Keys of a gallery against the machine's matrix product and GeoCLIP's own code: `bench_keys.py [--json FILE]`.

The released location encoder (3 x 3.1 M weights) over clustered places. float32 decides the answers: bf16 is timed as
well, and how many answers it would change is counted, among places 100 m apart.
"""

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from bench_search import released
from places import towns
from rows import Row, write_rows
from timing import interleaved
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.formats.gallery import Gallery
from vgeo.methods._gallery import embed_rows
from vgeo.search.exact import top_k

_BATCH = 4096
_SIDE = 2048  # of the product that the rate is measured with


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    method, latlon = released(), towns(given.points, 0.1)
    gallery, cpu = Gallery(latlon_deg=latlon), torch.device("cpu")

    @torch.inference_mode()
    def ours() -> Tensor:
        return torch.cat(list(embed_rows(method, gallery, cpu, _BATCH)))

    def rounded() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return ours()

    a, b = torch.randn(2, _SIDE, _SIDE)
    ways: dict[str, Callable[[], object]] = {"vgeo": ours, "bf16": rounded, "product": lambda: a @ b}
    if find_spec("geoclip"):
        ways["geoclip"] = geoclip_code(latlon)
    seconds = interleaved(ways, given.rounds)
    weights = sum(layer.numel() for name, layer in method.named_parameters() if "location" in name and layer.ndim == 2)
    rate = 2 * weights * given.points / seconds["vgeo"]
    limit = 2 * _SIDE**3 / seconds["product"]
    keys, changed = ours(), 1 - same_answers(ours(), rounded())
    bf16 = f"bf16 products: {seconds['vgeo'] / seconds['bf16']:.2f} x as fast, {100 * changed:.0f} % other answers"
    per_s = {name: given.points / value for name, value in seconds.items()}
    rows = [
        Row("gallery keys", "the machine's float32 product", rate / limit, ">= 0.85",
            figures=f"{rate / 1e9:.0f}, {limit / 1e9:.0f} GFLOP/s", note=f"{len(keys):,} places"),
        Row("gallery keys", "the same in bf16", seconds["bf16"] / seconds["vgeo"],
            figures=f"{per_s['vgeo']:,.0f}, {per_s['bf16']:,.0f} places/s", note=bf16),
    ]  # fmt: skip
    if "geoclip" in seconds:
        why = f"both are bound by the same float32 products; {bf16}, so float32 stays"
        rows.append(Row("gallery keys", "geoclip's LocationEncoder", seconds["geoclip"] / seconds["vgeo"], ">= 1.9",
                        figures=f"{per_s['vgeo']:,.0f}, {per_s['geoclip']:,.0f} places/s", note=why))  # fmt: skip
    else:
        print("geoclip is not installed: pip install geoclip")
    for row in rows:
        print(f"{row.value:6.2f} x {row.against}: {row.figures}; {row.note}")
    write_rows(given.json, rows)


def geoclip_code(latlon: np.ndarray) -> Callable[[], Tensor]:
    """GeoCLIP's own embedding of a gallery, all of it at once, as its predict does."""
    from geoclip import LocationEncoder

    encoder, places = LocationEncoder().eval(), torch.from_numpy(latlon).float()

    @torch.no_grad()
    def embed() -> Tensor:
        return F.normalize(encoder(places), dim=1)

    return embed


def same_answers(exact: Tensor, rounded: Tensor, count: int = 512) -> float:
    """The share of queries, keys with noise as long as themselves, that find the same place among rounded keys."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(exact), (count,), generator=generator)
    off = F.normalize(torch.randn(count, exact.shape[1], generator=generator), dim=1)
    queries = F.normalize(exact[rows] + off, dim=1)
    same = top_k(queries, exact, 1).index_NK == top_k(queries, rounded, 1).index_NK
    return float(same.double().mean())


if __name__ == "__main__":
    main()
