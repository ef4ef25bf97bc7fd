"""S2 cells, vectorised, and regions grown from them.

Cell ids equal those of Google's S2 library (Hilbert curve on the faces of a cube, quadratic projection). Level 10 cells
are about 9 km wide, level 13 about 1.1 km. Shapes: N positions, M distinct cells.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.geo.sphere import unit_vectors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A cell's quarter (i bit, j bit) -> its place along the Hilbert curve, for each of the curve's four orientations.
_PLACE = np.array([[0, 1, 3, 2], [0, 3, 1, 2], [2, 3, 1, 0], [2, 1, 3, 0]], np.uint64)
_TURN = np.array([1, 0, 0, 3], np.uint64)  # how the orientation changes (xor) inside the quarter at a place


def cell_ids(latlon_deg: ArrayLike, level: int) -> NDArray[np.uint64]:
    """S2 cell id of each position: [..., 2] -> uint64 [...]."""
    return _ids(*_face_ij(unit_vectors(latlon_deg), level), level)


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
    axis = np.argmax(np.abs(vectors), axis=-1)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    face = axis + 3 * (np.take_along_axis(vectors, axis[..., None], -1)[..., 0] < 0)
    faces = [face == number for number in range(6)]
    with np.errstate(divide="ignore", invalid="ignore"):  # the quotients of the other faces are computed and dropped
        u = np.select(faces, [y / x, -x / y, -x / z, z / x, z / y, -y / z])
        v = np.select(faces, [z / x, z / y, -y / z, y / x, -x / y, -x / z])
    i, j = (np.clip(np.floor(_project(t) * 2**level), 0, 2**level - 1).astype(np.int64) for t in (u, v))
    return face, i, j


def _project(u: Floats) -> Floats:
    """Quadratic projection, [-1, 1] -> [0, 1]: makes cells of one level nearly equal in area."""
    half = 0.5 * np.sqrt(1 + 3 * np.abs(u))
    return np.where(u >= 0, half, 1 - half)


def _unproject(s: Floats) -> Floats:
    return np.where(s >= 0.5, (4 * s * s - 1) / 3, (1 - 4 * (1 - s) * (1 - s)) / 3)


def _ids(face: Ints, i: Ints, j: Ints, level: int) -> NDArray[np.uint64]:
    one = np.uint64(1)
    columns, rows = i.astype(np.uint64), j.astype(np.uint64)
    orientation = face.astype(np.uint64) & one
    place = np.zeros_like(columns)
    for bit in range(level - 1, -1, -1):
        shift = np.uint64(bit)
        quarter = (((columns >> shift) & one) << one) | ((rows >> shift) & one)
        step = _PLACE[orientation, quarter]
        place = (place << np.uint64(2)) | step
        orientation ^= _TURN[step]
    end = np.uint64(60 - 2 * level)
    return (face.astype(np.uint64) << np.uint64(61)) | (place << (end + one)) | (one << end)


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
