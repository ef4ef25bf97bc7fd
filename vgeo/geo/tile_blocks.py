"""Squares of many tiles laid over those that there are, so that a drive lies well within one of them."""

from collections.abc import Collection, Iterator

from vgeo.geo.tiles import Tile, block


def whole_blocks(tiles: Collection[Tile], across: int, step: int) -> tuple[list[Tile], int]:
    """North-western tiles of whole squares of `across` tiles a side, sorted, and how many tiles lie in none.

    They begin every `step` tiles of the map; where tiles that those leave out fit into one, it is added. Squares with
    gaps are left out.
    """
    there = set(tiles)
    starts = {(x - x % step - step * i, y - y % step - step * j) for x, y in there for i, j in _offsets(across, step)}
    chosen = {start for start in starts if _is_whole(start, across, there)}
    inside = {tile for start in chosen for tile in block(start[0], start[1], across)}
    lost = 0
    for tile in sorted(there - inside):
        if tile in inside:
            continue
        found = _best(tile, across, there, inside)
        if found is None:
            lost += 1
            continue
        chosen.add(found)
        inside.update(block(*found, across))
    return sorted(chosen), lost


def _offsets(across: int, step: int) -> Iterator[tuple[int, int]]:
    """How many steps back squares begin that may hold a tile."""
    reach = range((across - 1) // step + 1)
    return ((i, j) for i in reach for j in reach)


def _is_whole(start: Tile, across: int, there: Collection[Tile]) -> bool:
    x, y = start
    far = (x + across - 1, y + across - 1)
    return start in there and far in there and all(tile in there for tile in block(x, y, across))


def _best(tile: Tile, across: int, there: set[Tile], inside: set[Tile]) -> Tile | None:
    """The whole square around a tile that holds most tiles of no other; None where all have gaps."""
    around = block(tile[0] - across + 1, tile[1] - across + 1, across)
    whole = [start for start in around if _is_whole(start, across, there)]
    if not whole:
        return None
    return max(whole, key=lambda start: sum(one not in inside for one in block(start[0], start[1], across)))
