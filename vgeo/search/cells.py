"""Keys in cells of neighbouring places, and how high any key of a cell can score.

A branch-and-bound search for the largest product: a query is compared with cells first, and with the keys of those
alone that can hold one of its best. Ram and Gray (Maximum inner-product search using cone trees, KDD 2012) bound a
ball of keys around a centre c by q.c + |q| r. Between a photograph and places that is hopeless: the best scores are
some 0.3, and r is 0.3 for a square kilometre. But keys are smooth functions of the position, so the keys of a cell lie
close to a space of few dimensions. With any vectors u_1 .. u_D and any z,

    k = c + sum_d z_d u_d + e        where e is what is left over,
    q.k = q.c + sum_d z_d (q.u_d) + q.e
       <= q.c + sum_d h_d |q.u_d| + |q| max |e|      where |z_d| <= h_d for every key of the cell.

The u are the cell's first principal directions (8 leave some 0.02 of a key of length 1), and c is chosen so that each
z_d spans -h_d .. h_d. A query is nearly at right angles to directions it has nothing to do with: the second term comes
to a few hundredths where |q| r is 0.3. The bound holds for whatever directions there are; good ones make it tight.

Shapes: G gallery keys, E embedding width, C cells, D directions, N queries, n keys of a cell.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.search.partition import neighbourhoods
from vgeo.search.settle import Keys, rows_of, slack

# Chosen on 300,000 keys of GeoCLIP's released location encoder: more directions, or smaller cells, open fewer keys but
# cost more than that saves.
_DIRECTIONS = 8
_BESIDE = 4  # more directions are iterated than kept: the last ones converge slowly
_LOOSE = 0.08  # a cell of which so much is left over is divided again,
_SMALL = 64  # unless it holds no more keys than these
_TOGETHER = 2**24  # products of queries and cells at once: 64 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Keys in the order of their cells, and the bound of each cell."""

    keys_GE: Tensor  # a cell's keys are keys[first[c]:first[c+1]]
    row_G: Tensor  # where each is in the gallery; ascending within a cell
    first: NDArray[np.int64]  # [C+1]
    planes_E: Tensor  # [C * (1 + D), E]: the centre of each cell, then its directions times h
    left_C: Tensor  # max |e|

    def __len__(self) -> int:
        return len(self.left_C)

    @property
    def counts(self) -> Tensor:
        """How many keys each cell holds: [C]."""
        return torch.from_numpy(np.diff(self.first))

    def bounds(self, queries_NE: Tensor) -> Tensor:
        """At most this does any key of a cell score, rounding included: [N, C]."""
        bounds_NC = torch.empty(len(queries_NE), len(self))
        for rows in torch.arange(len(queries_NE)).split(max(1, _TOGETHER // len(self.planes_E))):
            product_nCD = (queries_NE[rows] @ self.planes_E.T).view(len(rows), len(self), -1)
            bounds_NC[rows] = product_nCD[:, :, 0] + product_nCD[:, :, 1:].abs_().sum(2)
        length_N = torch.linalg.vector_norm(queries_NE, dim=1)
        # The products here and the sums above: three times a product's own rounding is more than enough.
        return bounds_NC.addr_(length_N, self.left_C).add_(3 * slack(queries_NE)[:, None])


def cell_size(count: int) -> int:
    """Most keys of a cell: bounds cost (1 + D) products a cell, and cells that are opened one a key."""
    return max(_SMALL, round(4 * count**0.5))


@torch.no_grad()
def build_cells(keys_GE: Keys, latlon_deg: NDArray[np.float64], size: int | None = None) -> Cells:
    """Sort normalised keys of positions [G, 2] into cells. Copies the keys. Raises ValueError where one is not finite.

    size: most keys of a cell.
    """
    count, width = keys_GE.shape
    directions = min(_DIRECTIONS, width)
    ordered_GE, row_G = torch.empty(count, width), torch.empty(count, dtype=torch.int64)
    first, planes, left = [0], [], []
    waiting = list(neighbourhoods(latlon_deg, size or cell_size(count)))[::-1]
    while waiting:
        rows = waiting.pop()
        part = slice(first[-1], first[-1] + len(rows))
        row_G[part] = torch.from_numpy(rows)
        ordered_GE[part] = rows_of(keys_GE, row_G[part])
        plane, most_left = _bound(ordered_GE[part], directions)
        if most_left > _LOOSE and len(rows) > _SMALL:
            waiting += [rows[one] for one in neighbourhoods(latlon_deg[rows], (len(rows) + 1) // 2)]
            continue
        planes.append(plane)
        left.append(most_left)
        first.append(part.stop)
    left_C = torch.stack(left)
    if not bool(left_C.isfinite().all()):
        raise ValueError("keys that are not finite")
    return Cells(keys_GE=ordered_GE, row_G=row_G, first=np.array(first), planes_E=torch.cat(planes), left_C=left_C)


def _bound(keys_nE: Tensor, directions: int) -> tuple[Tensor, Tensor]:
    """The centre and the scaled directions [1 + D, E] of a cell, and max |e|."""
    centre_E = keys_nE.mean(0)
    off_nE = keys_nE - centre_E
    if not bool(torch.isfinite(centre_E).all()):
        return torch.zeros(1 + directions, keys_nE.shape[1]), torch.tensor(torch.inf)
    axes_ED = _principal(off_nE, directions)
    along_nD = off_nE @ axes_ED
    low_D, high_D = along_nD.amin(0), along_nD.amax(0)
    e_nE = torch.addmm(off_nE, along_nD, axes_ED.T, alpha=-1)
    plane_DE = F.pad((axes_ED * ((high_D - low_D) / 2)).T, (0, 0, 0, directions - axes_ED.shape[1]))
    centre_E = centre_E + axes_ED @ ((low_D + high_D) / 2)
    return torch.cat([centre_E[None], plane_DE]), torch.linalg.vector_norm(e_nE, dim=1).amax()


def _principal(off_nE: Tensor, directions: int) -> Tensor:
    """Nearly the first principal directions of centred rows, [E, up to D]: one subspace iteration from some rows."""
    largest = off_nE.abs().amax()
    if not largest:
        return off_nE.new_empty(off_nE.shape[1], 0)
    off_nE = off_nE / largest  # or squares of what rounding leaves of equal keys underflow
    start = torch.linspace(0, len(off_nE) - 1, min(len(off_nE), directions + _BESIDE)).long()
    axes_Ed, _ = torch.linalg.qr(off_nE[start].T)
    axes_Ed, _ = torch.linalg.qr(off_nE.T @ (off_nE @ axes_Ed))
    along_nd = off_nE @ axes_Ed
    _, turn_dd = torch.linalg.eigh(along_nd.T @ along_nd)  # ascending
    return axes_Ed @ turn_dd[:, -directions:]
