"""Which city a whole clip is in, from what its frames say (VidTAG, section 5.3 and appendix E.1).

A place is a row's city together with its state, country and continent: Portland in Maine is not Portland in Oregon.
The answer is one place, and its state, country and continent are read off it, as CityGuessr's codependent evaluation
does (its section 4.6); shares and runners-up are counted at each level by itself.

Shapes: T frames, K candidates a frame, G gallery rows.
"""

from collections import Counter
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
    None when no frame's answer has a city.
    """
    index, probability = np.asarray(index_TK), np.asarray(probability_TK, np.float64)
    names = _names(gallery.labels, index)
    answers = [row[0] for row in names]
    if not any(name[0] for name in answers):
        return None
    if rule == "centroid":
        answer = answers[_central(gallery.latlon_deg[index[:, 0]])]
        if not answer[0]:
            return None
    else:
        tally = _tally(names, probability, 0)
        answer = min(tally, key=lambda name: _order(tally[name]))
    ranking = tuple(_ranking(answer, names, probability, level) for level in range(len(LEVELS)))
    return PlaceVotes(rule=rule, ranking=ranking)


def _names(labels: Labels, index_TK: NDArray[np.int64]) -> list[list[_Name]]:
    """The four names of each frame's candidates."""
    columns = [labels.get(level) for level in LEVELS]
    rows, of_candidate = np.unique(index_TK, return_inverse=True)
    known = [tuple("" if column is None else str(column[row]) for column in columns) for row in rows]
    return [[known[i] for i in row] for row in of_candidate.reshape(index_TK.shape)]


def _central(answers_deg: Floats) -> int:
    """The frame whose answer lies nearest to the centroid of all; of several, the first."""
    return int(np.argmin(distance_km(answers_deg, centroid(answers_deg))))


def _tally(names: list[list[_Name]], probability_TK: Floats, level: int) -> dict[_Name, tuple[float, float]]:
    """Share of the frames and mean probability of each place that is named at a level, in the order of the frames."""
    votes = Counter(row[0][level:] for row in names)
    mass: dict[_Name, float] = {}
    for row, probabilities in zip(names, probability_TK.tolist(), strict=True):
        for name, probability in zip(row, probabilities, strict=True):
            if name[level]:
                mass[name[level:]] = mass.get(name[level:], 0.0) + probability
    frames = len(names)
    return {name: (votes[name] / frames, min(1.0, total / frames)) for name, total in mass.items()}


def _order(scores: tuple[float, float]) -> tuple[float, float]:
    """Most frames first, then the higher mean probability; what is equal in both stays in the order of the frames."""
    share, probability = scores
    return -share, -probability


def _ranking(answer: _Name, names: list[list[_Name]], probability_TK: Floats, level: int) -> tuple[PlaceVote, ...]:
    """The answer's own place at a level, then the others by share; () where the answer names none there."""
    chosen = answer[level:]
    if not chosen[0]:
        return ()
    tally = _tally(names, probability_TK, level)
    others = sorted((name for name in tally if name != chosen), key=lambda name: _order(tally[name]))
    return tuple(
        PlaceVote(
            labels=PlaceLabels(**dict(zip(LEVELS[level:], name, strict=True))),
            share=tally[name][0],
            probability=tally[name][1],
        )
        for name in [chosen, *others[: RANKED - 1]]
    )
