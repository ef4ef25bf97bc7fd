"""Validations as a run keeps them (JSON): which of two is better, and what is said of one.

A Retriever's holds the median error of frames and their shares within some radii, one of tiles also the share of right
ones; a Classifier's the shares of clips that are placed rightly at each level.
"""

from typing import Any

Validated = dict[str, Any]


def rank(validation: Validated) -> tuple[float, ...]:
    """What is to be small: the median error, and of equal ones (among cities it is 0 km once half are right) minus the
    shares of frames, smallest radius first. Of tiles minus the share of right ones before these: the median says little
    as long as half of the clips are placed in another city. Of classes minus the shares of clips, finest level first,
    and of equal ones the loss.
    """
    if "accuracy" in validation:
        return *(-share for share in validation["accuracy"].values()), validation["loss"]
    right = (-validation["recall"],) if "recall" in validation else ()
    return *right, validation["median_error_km"], *(-share for share in validation["within"].values())


def words(validation: Validated, best: str = "") -> list[str]:
    """What a line of the log says. best: put behind the first figure."""
    if "accuracy" in validation:
        said = [f"{level} {share:.1%}" for level, share in validation["accuracy"].items()]
        return [f"right {'  '.join(said)}{best}"]
    right = f"right {validation['recall']:.1%}  " if "recall" in validation else ""
    return [f"{right}median error {format_km(validation['median_error_km'])}{best}", _within(validation["within"])]


def short(validation: Validated) -> str:
    """The one figure that decides."""
    if "accuracy" in validation:
        level, share = next(iter(validation["accuracy"].items()), ("", 0.0))
        return f"{share:.1%} of held-out clips in the right {level}"
    if "recall" in validation:
        return f"{validation['recall']:.1%} of held-out clips within 80 m"
    return f"median error {format_km(validation['median_error_km'])}"


def _within(shares: dict[str, float]) -> str:
    """Shares of frames within so many km, up to the first that holds practically all."""
    shown = []
    for radius, share in shares.items():
        shown.append(f"{share:.0%} in {radius} km")
        if share > 0.995:
            break
    return " ".join(shown)


def format_km(km: float) -> str:
    """A distance for people: metres below one kilometre.

    >>> format_km(0.0287), format_km(1.5), format_km(9551.2)
    ('28.7 m', '1.5 km', '9,551 km')
    """
    if km < 1:
        return f"{1000 * km:.3g} m"
    return f"{km:.3g} km" if km < 1000 else f"{km:,.0f} km"
