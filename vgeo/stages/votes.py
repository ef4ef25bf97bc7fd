"""Which city a whole clip is in, from what its frames say (VidTAG, section 5.3 and appendix E.1).

A place is a row's city together with its state, country and continent: Portland in Maine is not Portland in Oregon.
The answer is one place, and its state, country and continent are read off it, as CityGuessr's codependent evaluation
does (its section 4.6); shares and runners-up are counted at each level by itself.

Shapes: T frames, K candidates a frame, G gallery rows.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgeo.errors import InputError, UsageError
from vgeo.formats.gallery import Gallery
from vgeo.geo.sphere import centroid, distance_km
from vgeo.records import LEVELS, Floats, PlaceLabels, PlaceVote, PlaceVotes

RULES = ("majority", "centroid")
RANKED = 5  # answer and runners-up that are kept at each level: CityGuessr reports top-1 and top-5
CANDIDATES = 256  # a frame that votes look at: all of CityGuessr68k's 166 cities

Labels = Mapping[str, NDArray[np.object_]]  # name -> [G]
_Name = tuple[str, ...]  # of a place from a level upwards


def voting_rule(asked: str | None, labels: Labels) -> str | None:
    """The rule to vote by in a gallery with these labels, majority unless asked otherwise; None: it names no cities.

    Raises UsageError for an unknown rule, InputError for one that is asked for in vain.
    """
    if asked is not None and asked not in RULES:
        raise UsageError(f"--vote {asked}: not one of {', '.join(RULES)}")
    if "city" in labels and any(labels["city"]):
        return asked or RULES[0]
    if asked is not None:
        raise InputError(f"--vote {asked}: the gallery names no cities; make one with 'vgeo build-gallery cities'")
    return None


def vote(gallery: Gallery, index_TK: ArrayLike, probability_TK: ArrayLike, rule: str = "majority") -> PlaceVotes | None:
    """Let the frames vote for a place.

    index_TK: gallery rows of each frame's candidates, best first. probability_TK: of these. rule: "majority" takes the
    place of most frames, and of several the one of the higher mean probability; "centroid" the place of the frame that
    lies nearest to the centroid of all frames' answers (appendix E.1): among cities far apart, one in the middle.
    None when no frame's answer has a city, or the one at the centroid has none.
    """
    index, probability = np.asarray(index_TK), np.asarray(probability_TK, np.float64)
    rows, place_TK = np.unique(index, return_inverse=True)
    names = _names(gallery.labels, rows)
    place_TK = place_TK.reshape(index.shape)
    tallies = [_tally([name[level:] for name in names], place_TK, probability) for level in range(len(LEVELS))]
    if rule == "centroid":
        answer = names[place_TK[_central(gallery.latlon_deg[index[:, 0]]), 0]]
    else:
        answer = min(tallies[0], key=lambda name: _order(tallies[0][name]), default=("",) * len(LEVELS))
    if not answer[0] or not tallies[0][answer][0]:
        return None
    ranking = tuple(_ranking(answer[level:], tallies[level], level) for level in range(len(LEVELS)))
    return PlaceVotes(rule=rule, ranking=ranking)


def _names(labels: Labels, rows: NDArray[np.int64]) -> list[_Name]:
    """The four names of some gallery rows."""
    columns = [labels.get(level) for level in LEVELS]
    return [tuple("" if column is None else str(column[row]) for column in columns) for row in rows]


def _central(answers_deg: Floats) -> int:
    """The frame whose answer lies nearest to the centroid of all; of several, the first."""
    return int(np.argmin(distance_km(answers_deg, centroid(answers_deg))))


def _tally(names: list[_Name], place_TK: NDArray[np.int64], probability_TK: Floats) -> dict[_Name, tuple[float, float]]:
    """Share of the frames and mean probability of each name, in the order of the frames; places without one are out.

    names: of the places that place_TK counts through.
    """
    number = {name: n for n, name in enumerate(dict.fromkeys(names))}
    name_TK = np.array([number[name] for name in names])[place_TK]
    votes = np.bincount(name_TK[:, 0], minlength=len(number)) / len(name_TK)
    mass = np.bincount(name_TK.ravel(), probability_TK.ravel(), minlength=len(number)) / len(name_TK)
    _, first = np.unique(name_TK, return_index=True)  # every number occurs: so they are 0, 1, ...
    known = list(number)
    return {known[n]: (float(votes[n]), min(1.0, float(mass[n]))) for n in np.argsort(first) if known[n][0]}


def _order(scores: tuple[float, float]) -> tuple[float, float]:
    """Most frames first, then the higher mean probability; what is equal in both stays in the order of the frames."""
    share, probability = scores
    return -share, -probability


def _ranking(answer: _Name, tally: dict[_Name, tuple[float, float]], level: int) -> tuple[PlaceVote, ...]:
    """The answer's own place at a level, then the others by share; () where the answer names none there."""
    if not answer[0]:
        return ()
    others = sorted((name for name in tally if name != answer), key=lambda name: _order(tally[name]))
    return tuple(
        PlaceVote(
            labels=PlaceLabels(**dict(zip(LEVELS[level:], name, strict=True))),
            share=tally[name][0],
            probability=tally[name][1],
        )
        for name in [answer, *others[: RANKED - 1]]
    )
