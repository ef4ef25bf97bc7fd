"""Rankings made in memory."""

from collections.abc import Mapping, Sequence

import numpy as np

from vgeo.formats.rankings import Rankings


def of_lists(lists: Mapping[str, Sequence[str]]) -> Rankings:
    """Rankings from lists by query."""
    number: dict[str, int] = {}
    flat = [number.setdefault(name, len(number)) for names in lists.values() for name in names]
    first = np.cumsum([0, *(len(names) for names in lists.values())])
    return Rankings(
        queries=list(lists), ids=list(number), number=np.array(flat, np.int32), first=first.astype(np.int64)
    )
