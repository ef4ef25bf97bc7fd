"""Score predicted cities against true ones, at the four levels of CityGuessr's tables (its sections 5.1 and 5.5).

Names are compared without accents and letter case, countries by their codes. A city is right when its name is, and its
country where both sides name one; the state counts only for cities of which one side knows several in a country
(Portland in Maine and in Oregon), because states are spelled in too many ways.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from vgeo.errors import FormatError, InputError
from vgeo.formats.place_labels import LabelledClip
from vgeo.geo.city_names import city_key
from vgeo.geo.names import country_key, fold
from vgeo.metrics import top_percent
from vgeo.records import LEVELS, CityScore, LevelScore, PlaceLabels, PlaceReport, PlaceVotes
from vgeo.stages.clip_labels import join_ids

CITY, STATE, COUNTRY, CONTINENT = range(len(LEVELS))
_Pair = tuple[PlaceVotes, PlaceLabels]  # what is said of a clip, and what is true
_Namesakes = set[tuple[str, str]]


def score_places(predictions: Mapping[str, PlaceVotes], truth: Sequence[LabelledClip]) -> PlaceReport:
    """Score every clip whose city is predicted and known; clips are joined by `join_ids`.

    Top-5 are the answer and the first four runners-up, by the frames that voted for them at that level, as CityGuessr's
    top-5 goes by each level's own scores. Raises InputError when no clip is in both, FormatError for a truth that puts
    one clip into two places.
    """
    known = _by_clip(truth)
    joined = join_ids(list(predictions), list(known))
    if not joined:
        mine, theirs = (", ".join(list(ids)[:3]) for ids in (predictions, known))
        raise InputError(f"no clip is in both: predictions of {mine}; truth of {theirs}; ids or file names must agree")
    pairs = [(predictions[said], known[true]) for said, true in joined]
    namesakes = _namesakes([labels for _, labels in pairs]) | _namesakes(
        [vote.labels for votes, _ in pairs for vote in votes.ranking[CITY]]
    )
    levels = [_level(level, pairs, namesakes) for level in range(len(LEVELS))]
    said, true = {one for one, _ in joined}, {other for _, other in joined}
    return PlaceReport(
        clips=len(pairs),
        levels=tuple(level for level in levels if level is not None),
        cities=_cities(pairs, namesakes),
        unmatched_clips=tuple(name for name in predictions if name not in said),
        unmatched_truth=tuple(name for name in known if name not in true),
    )


def _by_clip(truth: Sequence[LabelledClip]) -> dict[str, PlaceLabels]:
    clips: dict[str, PlaceLabels] = {}
    for row in truth:
        if not row.video_id:
            raise FormatError(f"truth: {row.labels.city} is of no clip; give a column video_id or path")
        if clips.setdefault(row.video_id, row.labels) != row.labels:
            raise FormatError(f"truth: clip {row.video_id} is in {clips[row.video_id].city} and in {row.labels.city}")
    return clips


def _namesakes(places: Sequence[PlaceLabels]) -> _Namesakes:
    """City and country of the cities that are named in several states of a country."""
    states: dict[tuple[str, str], set[str]] = {}
    for place in places:
        if place.state:
            states.setdefault((city_key(place.city), country_key(place.country)), set()).add(fold(place.state))
    return {name for name, found in states.items() if len(found) > 1}


def same_place(level: int, one: PlaceLabels, other: PlaceLabels, namesakes: _Namesakes) -> bool:
    """Whether two places are one at a level: see the head of this file."""
    if level == CONTINENT:
        return bool(one.continent) and fold(one.continent) == fold(other.continent)
    countries = country_key(one.country), country_key(other.country)
    if level == COUNTRY:
        return bool(one.country) and countries[0] == countries[1]
    if one.country and other.country and countries[0] != countries[1]:
        return False
    states = fold(one.state), fold(other.state)
    if level == STATE:
        return bool(one.state) and states[0] == states[1]
    if city_key(one.city) != city_key(other.city) or not one.city:
        return False
    tell_apart = any((city_key(one.city), country) in namesakes for country in countries)
    return not tell_apart or not all(states) or states[0] == states[1]


def _level(level: int, pairs: Sequence[_Pair], namesakes: _Namesakes) -> LevelScore | None:
    """Accuracy at a level; None where the truth, or every prediction, says nothing of it."""
    known = [(votes, true) for votes, true in pairs if true.from_level(level)[0]]
    ranked = [votes.ranking[level] for votes, _ in known]
    if not any(ranked):
        return None
    ranks = [
        next((n for n, vote in enumerate(row) if same_place(level, vote.labels, true, namesakes)), -1)
        for row, (_, true) in zip(ranked, known, strict=True)
    ]
    return LevelScore(
        level=LEVELS[level],
        clips=len(known),
        top1_percent=top_percent(ranks, 1),
        top5_percent=top_percent(ranks, 5) if any(len(row) > 1 for row in ranked) else None,
    )


def _cities(pairs: Sequence[_Pair], namesakes: _Namesakes) -> tuple[CityScore, ...]:
    """The true cities, hardest first; a mistake for another of them is labelled as that one is."""
    of_city: dict[tuple[str, ...], list[_Pair]] = {}
    for votes, true in pairs:
        of_city.setdefault(_key(true, namesakes), []).append((votes, true))
    cities = [members[0][1] for members in of_city.values()]
    spelled: dict[tuple[str, ...], PlaceLabels] = {}
    scores = []
    for labels, members in zip(cities, of_city.values(), strict=True):
        wrong = [v.labels for v, true in members if not same_place(CITY, v.labels, true, namesakes)]
        for place in wrong:
            if (key := _key(place, namesakes)) not in spelled:
                spelled[key] = next((city for city in cities if same_place(CITY, city, place, namesakes)), place)
        counts = Counter(spelled[_key(place, namesakes)] for place in wrong)
        correct = len(members) - len(wrong)
        scores.append(
            CityScore(labels=labels, clips=len(members), correct=correct, mistaken_for=tuple(counts.most_common()))
        )
    return tuple(sorted(scores, key=lambda one: (one.correct / one.clips, -one.clips, one.labels.from_level(0))))


def _key(place: PlaceLabels, namesakes: _Namesakes) -> tuple[str, ...]:
    """What tells a city from others."""
    name = (city_key(place.city), country_key(place.country))
    return (*name, fold(place.state)) if name in namesakes else name
