"""Which of two validations is better, and what is said of them."""

from typing import Any

import pytest

from vgeo.training.measures import rank, short, words


def classes(loss: float, **accuracy: float) -> dict[str, Any]:
    return {"accuracy": accuracy, "top5": dict.fromkeys(accuracy, 1.0), "loss": loss, "clips": 10}


def frames(median_km: float, **within: float) -> dict[str, Any]:
    return {"median_error_km": median_km, "within": {name[1:]: share for name, share in within.items()}}


def tiles(recall: float, median_km: float, **within: float) -> dict[str, Any]:
    return frames(median_km, **within) | {"recall": recall, "clips": 10}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (classes(9, city=0.6, state=0.1), classes(1, city=0.5, state=0.9)),  # the finest level decides
        (classes(9, city=0.5, state=0.7), classes(1, city=0.5, state=0.6)),  # then the next
        (classes(1, city=0.5, state=0.7), classes(2, city=0.5, state=0.7)),  # then the loss
        (frames(1.0, _1=0.1), frames(2.0, _1=0.9)),
        (frames(0.0, _1=0.6, _25=0.7), frames(0.0, _1=0.5, _25=0.9)),
        (frames(0.0, _1=0.5, _25=0.9), frames(0.0, _1=0.5, _25=0.8)),
        (tiles(0.2, 900.0, _1=0.2), tiles(0.1, 0.1, _1=0.9)),  # the share of right tiles decides
        (tiles(0.2, 900.0, _1=0.2), tiles(0.2, 901.0, _1=0.9)),
        (tiles(0.2, 900.0, _1=0.3), tiles(0.2, 900.0, _1=0.2)),
    ],
)
def test_the_better_one_ranks_first(better: dict[str, Any], worse: dict[str, Any]) -> None:
    assert rank(better) < rank(worse) and not rank(worse) < rank(better)


def test_equal_ones_are_equal() -> None:
    assert rank(classes(1, city=0.5)) == rank(classes(1, city=0.5))


def test_what_is_said_of_cities() -> None:
    found = classes(1, city=0.625, country=1.0)
    assert words(found, " (best)") == ["right city 62.5%  country 100.0% (best)"]
    assert short(found) == "62.5% of held-out clips in the right city"
    assert short(classes(1, country=0.25)) == "25.0% of held-out clips in the right country"


def test_what_is_said_of_positions() -> None:
    found = frames(0.0287, _1=0.5, _25=1.0, _200=1.0)
    assert words(found) == ["median error 28.7 m", "50% in 1 km 100% in 25 km"], "radii that add nothing are left out"
    assert short(frames(9551.2)) == "median error 9,551 km"


def test_what_is_said_of_tiles() -> None:
    found = tiles(0.125, 4558.0, _0=0.25)
    assert words(found, " (best)") == ["right 12.5%  median error 4,558 km (best)", "25% in 0 km"]
    assert short(found) == "12.5% of held-out clips within 80 m"
