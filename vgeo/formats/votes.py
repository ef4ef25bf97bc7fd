"""Votes for places as JSON, which is how every format holds them.

In GeoJSON they are the property `place_votes` of a clip's line: `rule`, and for each level a list that begins with the
answer, `{"city": ..., "state": ..., "country": ..., "continent": ..., "share": ..., "probability": ...}`. In CSV the
same object is in the column `place_votes` of a clip's first row, and the answer's names are in columns of their own.
"""

from collections.abc import Mapping
from typing import Any

from vgeo.errors import FormatError
from vgeo.formats.fixes import short
from vgeo.records import LEVELS, PlaceLabels, PlaceVote, PlaceVotes

COLUMN = "place_votes"


def to_json(votes: PlaceVotes) -> dict[str, Any]:
    """Votes as JSON values; levels and names that are not known are left out."""
    return {"rule": votes.rule} | {
        level: [_vote(vote) for vote in ranked] for level, ranked in zip(LEVELS, votes.ranking, strict=True) if ranked
    }


def _vote(vote: PlaceVote) -> dict[str, Any]:
    names = dict(zip(LEVELS, vote.labels.from_level(0), strict=True))
    known: dict[str, Any] = {level: name for level, name in names.items() if name}
    return known | {"share": short(vote.share), "probability": short(vote.probability)}


def from_json(value: Any, where: str) -> PlaceVotes:
    """Undo `to_json`. Raises FormatError."""
    try:
        return PlaceVotes(
            rule=_text(value.get("rule", "")),
            ranking=tuple(tuple(_read_vote(vote) for vote in value.get(level, [])) for level in LEVELS),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{where}: its {COLUMN} cannot be read ({type(error).__name__}: {error})") from error


def _read_vote(value: Mapping[str, Any]) -> PlaceVote:
    labels = PlaceLabels(**{level: _text(value[level]) for level in LEVELS if level in value})
    return PlaceVote(labels=labels, share=float(value["share"]), probability=float(value["probability"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value
