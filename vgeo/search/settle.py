"""One score and one order for all searches, however their products were blocked.

A float32 product of a few hundred terms depends on the order of its sums, so on how many queries and keys are
multiplied at once. Searches therefore use such products only to find candidates, up to their greatest possible error.
What decides is the float64 product rounded to float32 (`scores_of`), and of equal ones the lowest row: so answers
depend neither on the batch nor on the search.

Shapes: N queries, G gallery keys, E embedding width, P pairs of a query and a key, K answers a query.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Keys = Tensor | NDArray[np.float32]

_AT_ONCE = 2**21  # elements that are turned to float64 together: 16 MiB


def slack(queries_NE: Tensor) -> Tensor:
    """Largest error of float32 products [N] with normalised keys (up to 1.02 long), in whatever order they are summed.

    Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1: n u / (1 - n u) of both lengths, with
    u = 2^-24; and what settled scores are rounded by.
    """
    nu = queries_NE.shape[1] * 2.0**-24
    return 1.02 * (nu / (1 - nu) + 2.0**-24) * torch.linalg.vector_norm(queries_NE.float(), dim=1)


def rows_of(keys_GE: Keys, rows: Tensor) -> Tensor:
    """Some rows of the keys, where these are: in memory, mapped, or on a device."""
    if isinstance(keys_GE, np.ndarray):
        return torch.from_numpy(keys_GE[rows.cpu().numpy()])
    return keys_GE.index_select(0, rows.to(keys_GE.device))


def scores_of(queries_NE: Tensor, keys_GE: Keys, query_P: Tensor, row_P: Tensor) -> Tensor:
    """Scores [P] float32 of pairs of a query and a key."""
    parts = []
    step = max(1, _AT_ONCE // queries_NE.shape[1])
    for query_p, row_p in zip(query_P.split(step), row_P.split(step), strict=True):
        keys_pE = rows_of(keys_GE, row_p).to(queries_NE.device)
        parts.append((queries_NE[query_p].double() * keys_pE.double()).sum(1).float())
    return torch.cat(parts) if parts else torch.empty(0, device=queries_NE.device)


def in_order(query_P: Tensor, score_P: Tensor, row_P: Tensor) -> Tensor:
    """The order of pairs by query, then from the best score down, then by row."""
    order = row_P.argsort()
    order = order[score_P[order].argsort(descending=True, stable=True)]
    return order[query_P[order].argsort(stable=True)]
