"""Votes of frames for places, against examples counted by hand."""

import numpy as np
import pytest

from vgeo.errors import InputError, UsageError
from vgeo.formats.gallery import Gallery
from vgeo.records import LEVELS, PlaceLabels
from vgeo.stages.votes import vote, voting_rule

ROWS = [
    ("Portland", "Maine", "United States", "North America", 43.7, -70.3),
    ("Portland", "Oregon", "United States", "North America", 45.5, -122.7),
    ("Los Angeles", "California", "United States", "North America", 34.1, -118.2),
    ("San Francisco", "California", "United States", "North America", 37.8, -122.4),
    ("Lisbon", "Lisbon", "Portugal", "Europe", 38.7, -9.1),
    ("Singapore", "", "Singapore", "Asia", 1.3, 103.8),
]
LABELS = {
    name: np.array([row[i] for row in ROWS], object) for i, name in enumerate(("city", "state", "country", "continent"))
}
AT = np.array([row[4:] for row in ROWS], np.float64)
GALLERY = Gallery(latlon_deg=AT, labels=LABELS)
ME, OR, LA, SF, LX, SG = range(6)


def cast(index: list[list[int]], probability: list[list[float]] | None = None, rule: str = "majority"):
    found = vote(GALLERY, index, probability or np.full(np.shape(index), 0.5 / len(index[0])), rule)
    assert found is not None
    return found


def test_most_frames_win_and_the_hierarchy_is_read_off_the_city() -> None:
    """Two frames in each of two Californian cities, three in Lisbon: Portugal, though more frames are in California."""
    found = cast([[LX], [LA], [SF], [LX], [LA], [SF], [LX]])
    assert found.rule == "majority"
    assert found.labels == PlaceLabels(city="Lisbon", state="Lisbon", country="Portugal", continent="Europe")
    states = found.ranking[1]
    assert [(vote.labels.state, round(vote.share * 7)) for vote in states] == [("Lisbon", 3), ("California", 4)]
    assert [(v.labels.country, round(v.share * 7)) for v in found.ranking[2]] == [("Portugal", 3), ("United States", 4)]
    assert states[1].labels == PlaceLabels(state="California", country="United States", continent="North America")


def test_namesakes_are_two_places() -> None:
    found = cast([[ME], [OR], [OR], [SG], [SG], [SG]])
    assert found.labels.city == "Singapore"
    assert [v.labels.state for v in found.ranking[0]] == ["", "Oregon", "Maine"]
    assert found.ranking[1] == ()  # Singapore has no state
    assert [v.labels.country for v in found.ranking[2]] == ["Singapore", "United States"]


def test_a_tie_goes_to_the_higher_mean_probability() -> None:
    assert cast([[LX], [SF]], [[0.3], [0.4]]).labels.city == "San Francisco"
    assert cast([[LX], [SF]], [[0.4], [0.3]]).labels.city == "Lisbon"
    # Over all candidates: Lisbon has (0.3 + 0.25) / 2, San Francisco (0.4 + 0.1) / 2.
    found = cast([[LX, SF], [SF, LX]], [[0.3, 0.1], [0.4, 0.25]])
    assert found.labels.city == "Lisbon"
    assert [v.probability for v in found.ranking[0]] == pytest.approx([0.275, 0.25])
    assert cast([[SG], [LX]], [[0.4], [0.4]]).labels.city == "Singapore"  # equal in all: the first frame's


def test_candidates_without_votes_follow_by_probability() -> None:
    found = cast([[LX, SF, ME]], [[0.5, 0.1, 0.3]])
    assert [v.labels.city for v in found.ranking[0]] == ["Lisbon", "Portland", "San Francisco"]
    assert [v.share for v in found.ranking[0]] == [1, 0, 0]
    assert [v.probability for v in found.ranking[2]] == pytest.approx([0.5, 0.4])


def test_five_are_ranked() -> None:
    assert [len(r) for r in cast([[ME, OR, LA, SF, LX, SG]]).ranking] == [5, 4, 3, 3]


def test_the_centroid_takes_the_answer_in_the_middle() -> None:
    """Los Angeles, San Francisco and twice Portland, Maine: the middle lies 23 degrees of longitude from Los Angeles,
    25 from Portland and 27 from San Francisco."""
    index = [[LA], [SF], [ME], [ME]]
    assert cast(index).labels.state == "Maine"
    assert np.allclose(AT[[LA, SF, ME, ME]].mean(axis=0), [39.825, -95.3])
    found = cast(index, rule="centroid")
    assert (found.rule, found.labels.city) == ("centroid", "Los Angeles")
    assert found.ranking[0][0].share == 0.25 and found.ranking[0][1].labels.state == "Maine"


def test_rows_without_a_city() -> None:
    labels = {"city": np.array(["", "Lisbon"], object)}
    gallery = Gallery(latlon_deg=np.zeros((2, 2)), labels=labels)
    assert vote(gallery, [[0], [0]], [[1.0], [1.0]]) is None
    found = vote(gallery, [[0, 1], [0, 1], [1, 0]], [[0.9, 0.1]] * 3)
    assert found is not None and found.labels == PlaceLabels(city="Lisbon")
    assert found.ranking[0][0].share == pytest.approx(1 / 3) and found.ranking[1:] == ((), (), ())
    assert vote(gallery, [[0]], [[1.0]], "centroid") is None


def test_which_galleries_are_voted_on() -> None:
    assert voting_rule(None, LABELS) == "majority" and voting_rule("centroid", LABELS) == "centroid"
    nameless = {"city": np.array(["", ""], object)}
    assert voting_rule(None, {"video_id": LABELS["city"]}) is voting_rule(None, nameless) is None
    with pytest.raises(UsageError, match="majority, centroid"):
        voting_rule("mean", LABELS)
    with pytest.raises(InputError, match="build-gallery cities"):
        voting_rule("centroid", nameless)


@pytest.mark.parametrize("seed", range(5))
def test_against_counting_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = rng.integers(0, 3, (9, 4))
    columns = {
        level: np.array([f"{level[:2]}{n}" if n else "" for n in names[:, i]], object) for i, level in enumerate(LEVELS)
    }
    places = Gallery(latlon_deg=rng.uniform(-60, 60, (9, 2)), labels=columns)
    index = np.stack([rng.permutation(9)[:4] for _ in range(7)])
    probability = rng.dirichlet(np.ones(5), 7)[:, :4]
    found = vote(places, index, probability)
    for i, level in enumerate(LEVELS):
        tally: dict[tuple[str, ...], list[float]] = {}
        for t in range(7):
            for k in range(4):
                name = tuple(columns[other][index[t, k]] for other in LEVELS[i:])
                if name[0]:
                    entry = tally.setdefault(name, [0.0, 0.0])
                    entry[0] += (k == 0) / 7
                    entry[1] += probability[t, k] / 7
        if i == 0:
            best = max(tally, key=lambda name: tuple(np.round(tally[name], 9)))
            if not tally[best][0]:
                assert found is None
                return
            assert found is not None and found.labels.from_level(0) == best
        ranked = {vote.labels.from_level(i): (vote.share, vote.probability) for vote in found.ranking[i]}
        if best[i]:
            assert next(iter(ranked)) == best[i:]
            for name, scores in ranked.items():
                assert scores == pytest.approx(tuple(tally[name])), level
            order = [scores for name, scores in ranked.items() if name != best[i:]]
            assert order == sorted(order, reverse=True) and len(ranked) == min(5, len(tally))
        else:
            assert ranked == {}
