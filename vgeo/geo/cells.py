"""S2 cells, vectorised, and regions grown from them.

Cell ids equal those of Google's S2 library (Hilbert curve on the faces of a cube, quadratic projection). Level 10 cells
are about 9 km wide, level 13 about 1.1 km. Shapes: N positions, M distinct cells.
"""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.device import in_threads
from vgeo.geo.sphere import unit_vectors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A cell's quarter (i bit, j bit) -> its place along the Hilbert curve, for each of the curve's four orientations.
_PLACE = np.array([[0, 1, 3, 2], [0, 3, 1, 2], [2, 3, 1, 0], [2, 1, 3, 0]], np.uint16)
_TURN = np.array([1, 0, 0, 3], np.uint16)  # how the orientation changes (xor) inside the quarter at a place
_STEP = 4  # levels that are looked up at once
_BLOCK = 8_192  # positions that are worked on at a time: what is computed on the way stays in the cache

# For each face, which coordinates of a vector are divided for u and for v, and the quotient's sign.
_U = (np.array([1, 0, 0, 2, 2, 1]), np.array([1.0, -1, -1, 1, 1, -1]))
_V = (np.array([2, 2, 1, 1, 0, 0]), np.array([1.0, 1, -1, 1, -1, -1]))


def cell_ids(latlon_deg: ArrayLike, level: int) -> NDArray[np.uint64]:
    """S2 cell id of each position: [..., 2] -> uint64 [...]."""
    positions = np.asarray(latlon_deg, np.float64)
    flat = positions.reshape(-1, 2)
    found = np.empty(len(flat), np.uint64)

    def work(part: slice) -> None:
        found[part] = _ids(*_face_ij(unit_vectors(flat[part]), level), level)

    in_threads(work, [slice(begin, begin + _BLOCK) for begin in range(0, len(flat), _BLOCK)])
    return found.reshape(positions.shape[:-1])


def group(latlon_deg: ArrayLike, level: int = 10) -> Ints:
    """Number the regions of positions [N, 2]: those in one cell or in neighbouring ones belong together.

    Returns the region of each position [N]; region 0 holds the most positions, the next ones fewer.
    """
    face, i, j = _face_ij(unit_vectors(latlon_deg), level)
    cells, first, of_cell = np.unique(_ids(face, i, j, level), return_index=True, return_inverse=True)
    near = _neighbours(face[first], i[first], j[first], level)
    found = np.clip(np.searchsorted(cells, near), 0, len(cells) - 1)
    here, side = np.nonzero(cells[found] == near)
    region = _components(len(cells), here, found[here, side])[of_cell.reshape(-1)]
    names, start, size = np.unique(region, return_index=True, return_counts=True)
    order = np.lexsort((start, -size))
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return rank[np.searchsorted(names, region)]


def _face_ij(vectors: Floats, level: int) -> tuple[Ints, Ints, Ints]:
    """Face of the cube and the cell's column and row on it, for vectors [..., 3]."""
    flat = vectors.reshape(-1, 3)
    x, y, z = np.abs(flat.T)
    axis = np.where(y > x, np.where(z > y, 2, 1), np.where(z > x, 2, 0))  # of equals the first
    begin = np.arange(0, flat.size, 3)
    longest = flat.ravel()[begin + axis]
    face = axis + 3 * (longest < 0)
    columns = []
    for coordinate, sign in (_U, _V):
        quotient = sign[face] * flat.ravel()[begin + coordinate[face]] / longest
        cell = np.floor(_project(quotient) * 2**level).astype(np.int64)
        columns.append(np.clip(cell, 0, 2**level - 1, out=cell).reshape(vectors.shape[:-1]))
    return face.reshape(vectors.shape[:-1]), columns[0], columns[1]


def _project(u: Floats) -> Floats:
    """Quadratic projection, [-1, 1] -> [0, 1]: makes cells of one level nearly equal in area."""
    half = 0.5 * np.sqrt(1 + 3 * np.abs(u))
    return np.where(u >= 0, half, 1 - half)


def _unproject(s: Floats) -> Floats:
    return np.where(s >= 0.5, (4 * s * s - 1) / 3, (1 - 4 * (1 - s) * (1 - s)) / 3)


def _ids(face: Ints, i: Ints, j: Ints, level: int) -> NDArray[np.uint64]:
    turn = (face & 1) << 2 * _STEP  # the orientation, where the table has it
    place = np.zeros_like(i)
    done = 0
    while done < level:
        bits = min(_STEP, level - done)
        left = level - done - bits
        mask = 2**bits - 1
        step = _curve(bits)[turn | ((i >> left) & mask) << bits | ((j >> left) & mask)]
        place = (place << 2 * bits) | (step & 4**bits - 1)
        turn = (step >> 2 * bits) << 2 * _STEP
        done += bits
    end = 60 - 2 * level
    ids = (place << (end + 1)) | (1 << end)
    return ids.astype(np.uint64) | (face.astype(np.uint64) << np.uint64(61))


@cache
def _curve(bits: int) -> Ints:
    """Where the curve passes a quarter of a quarter ...: (orientation, i, j) -> (orientation inside, place).

    Indexed by orientation << 2 * _STEP | i << bits | j, with so many bits of i and j.
    """
    orientation, i, j = np.indices((4, 2**bits, 2**bits))
    place = np.zeros_like(i)
    for bit in range(bits - 1, -1, -1):
        step = _PLACE[orientation, (i >> bit & 1) << 1 | (j >> bit & 1)]
        place = place << 2 | step
        orientation = orientation ^ _TURN[step]
    table = np.zeros((4, 4**_STEP), np.int64)
    table[:, : 4**bits] = (orientation << 2 * bits | place).reshape(4, -1)
    return table.ravel()


def _neighbours(face: Ints, i: Ints, j: Ints, level: int) -> NDArray[np.uint64]:
    """Ids of the eight cells around each of M cells: [M, 8]. At a cube's corner, where seven meet, one comes twice."""
    steps = np.array([(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)])
    # A centre that lies off the face is pulled back to just beyond its edge, so that it falls into the adjoining cell.
    beyond = 1 + 1e-9
    u = np.clip(_unproject((i[:, None] + steps[:, 0] + 0.5) / 2**level), -beyond, beyond)
    v = np.clip(_unproject((j[:, None] + steps[:, 1] + 0.5) / 2**level), -beyond, beyond)
    one = np.ones_like(u)
    faces = [np.broadcast_to((face == number)[:, None], u.shape) for number in range(6)]
    x = np.select(faces, [one, -u, -u, -one, v, v])
    y = np.select(faces, [u, one, -v, -v, -one, u])
    z = np.select(faces, [v, v, one, -u, -u, -one])
    return _ids(*_face_ij(np.stack([x, y, z], axis=-1), level), level)


def _components(count: int, a: NDArray[np.intp], b: NDArray[np.intp]) -> Ints:
    """Least member of each vertex's connected component; every edge a[n]-b[n] is given in both directions."""
    root = np.arange(count)
    while True:
        lower = root.copy()
        np.minimum.at(lower, a, root[b])
        lower = lower[lower]
        if (lower == root).all():
            return root
        root = lower
