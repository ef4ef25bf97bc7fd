"""Cities scored against examples counted by hand."""

import pytest

from vgeo.errors import FormatError, InputError
from vgeo.formats.place_labels import LabelledClip
from vgeo.records import LEVELS, PlaceLabels, PlaceVote, PlaceVotes
from vgeo.reports.confusion import confusion_counts
from vgeo.stages.score_places import same_place, score_places

LISBON = PlaceLabels(city="Lisbon", state="Lisbon", country="Portugal", continent="Europe")
PORTO = PlaceLabels(city="Porto", state="Porto", country="Portugal", continent="Europe")
PARIS = PlaceLabels(city="Paris", state="Île-de-France", country="France", continent="Europe")
TEXAS = PlaceLabels(city="Paris", state="Texas", country="United States", continent="North America")
MAINE = PlaceLabels(city="Portland", state="Maine", country="United States", continent="North America")
OREGON = PlaceLabels(city="Portland", state="Oregon", country="United States", continent="North America")
LIMA = PlaceLabels(city="Lima", country="Peru", continent="South America")


def votes(*cities: PlaceLabels) -> PlaceVotes:
    """The first is the answer; at the other levels their names follow in the same order."""
    ranking = []
    for level in range(4):
        names = dict.fromkeys(city.from_level(level) for city in cities if city.from_level(level)[0])
        ranking.append(
            tuple(
                PlaceVote(
                    labels=PlaceLabels(**dict(zip(LEVELS[level:], name, strict=True))), share=0.5, probability=0.5
                )
                for name in names
            )
        )
    return PlaceVotes(rule="majority", ranking=tuple(ranking))


def true(video_id: str, labels: PlaceLabels) -> LabelledClip:
    return LabelledClip(video_id=video_id, labels=labels)


def test_four_levels_and_five_names() -> None:
    """Of four clips two cities are right, three countries, all continents; a third city is among the first five."""
    said = {
        "a": votes(LISBON, PORTO),
        "b": votes(PORTO, PARIS, LISBON),  # Lisbon third, Portugal first
        "c": votes(LISBON, LIMA, PORTO, MAINE, OREGON, PARIS),  # Paris sixth; France fourth
        "d": votes(LIMA),
    }
    report = score_places(said, [true("a", LISBON), true("b", LISBON), true("c", PARIS), true("d", LIMA)])
    found = {score.level: (score.clips, score.top1_percent, score.top5_percent) for score in report.levels}
    assert found == {
        "city": (4, 50, 75),
        "state": (3, pytest.approx(100 / 3), 100),  # Lima's is not known; Île-de-France is the fifth of c
        "country": (4, 75, 100),
        "continent": (4, 100, 100),
    }


def test_cities_hardest_first_with_what_they_are_mistaken_for() -> None:
    said = {
        "1": votes(LISBON),
        "2": votes(PORTO),
        "3": votes(PORTO),
        "4": votes(PARIS),
        "5": votes(LIMA),
        "6": votes(PORTO),
    }
    truth = [true(n, city) for n, city in zip("123456", [LISBON, LISBON, LISBON, LISBON, PORTO, PORTO], strict=True)]
    report = score_places(said, truth)
    lisbon, porto = report.cities
    assert (lisbon.labels, lisbon.clips, lisbon.correct, lisbon.mistaken_for) == (
        LISBON,
        4,
        1,
        ((PORTO, 2), (PARIS, 1)),
    )
    assert (porto.clips, porto.correct, porto.mistaken_for) == (2, 1, ((LIMA, 1),))
    assert confusion_counts(report).tolist() == [[1, 2, 1], [0, 1, 1]]
    assert confusion_counts(report, hardest=1).tolist() == [[1, 3]]


def test_spelling_does_not_count() -> None:
    pairs = [
        (PlaceLabels(city="São Paulo", country="Brazil"), PlaceLabels(city="SAO PAULO", country="BRA")),
        (
            PlaceLabels(city="Malmö", state="Skåne", country="Sweden"),
            PlaceLabels(city="Malmo", state="M", country="SE"),
        ),
        (PlaceLabels(city="Lima"), PlaceLabels(city="lima", country="Peru")),
    ]
    said = {str(n): votes(one) for n, (one, _) in enumerate(pairs)}
    report = score_places(said, [true(str(n), other) for n, (_, other) in enumerate(pairs)])
    assert [(s.level, s.clips, s.top1_percent, s.top5_percent) for s in report.levels] == [
        ("city", 3, 100, None),  # nobody names runners-up
        ("state", 1, 0, None),
        ("country", 3, pytest.approx(200 / 3), None),  # of Lima no country is said
    ]


def test_other_names_of_a_city_count() -> None:
    old = PlaceLabels(city="Bangalore", country="India", continent="Asia")
    report = score_places(
        {"a": votes(PlaceLabels(city="Bengaluru", country="India", continent="Asia"))}, [true("a", old)]
    )
    assert report.levels[0].top1_percent == 100


def test_namesakes_are_told_apart() -> None:
    none: set[tuple[str, str]] = set()
    assert not same_place(0, PARIS, TEXAS, none)
    assert same_place(0, MAINE, OREGON, none), "while one side knows a single Portland, states are not compared"
    report = score_places({"a": votes(MAINE, OREGON)}, [true("a", OREGON)])
    assert (report.levels[0].top1_percent, report.levels[0].top5_percent) == (0, 100)
    assert report.cities[0].mistaken_for == ((MAINE, 1),)
    report = score_places({"a": votes(MAINE), "b": votes(MAINE)}, [true("a", OREGON), true("b", MAINE)])
    assert [(city.labels, city.correct) for city in report.cities] == [(OREGON, 0), (MAINE, 1)]
    assert confusion_counts(report).tolist() == [[0, 1, 0], [0, 1, 0]]


def test_mistakes_are_labelled_as_the_truth_labels_them() -> None:
    truth = [true("a", PlaceLabels(city="lisbon")), true("b", PlaceLabels(city="porto"))]
    report = score_places({"a": votes(PORTO), "b": votes(PORTO)}, truth)
    assert report.cities[0].mistaken_for == ((PlaceLabels(city="porto"), 1),)
    assert confusion_counts(report).tolist() == [[0, 1, 0], [0, 1, 0]]


def test_clips_without_a_counterpart_are_named() -> None:
    report = score_places({"a": votes(LIMA), "x": votes(LIMA)}, [true("a", LIMA), true("y", LIMA), true("a", LIMA)])
    assert (report.clips, report.unmatched_clips, report.unmatched_truth) == (1, ("x",), ("y",))


def test_what_cannot_be_scored() -> None:
    with pytest.raises(InputError, match="predictions of x; truth of a; ids or file names must agree"):
        score_places({"x": votes(LIMA)}, [true("a", LIMA)])
    with pytest.raises(FormatError, match="clip a is in Lima and in Paris"):
        score_places({"a": votes(LIMA)}, [true("a", LIMA), true("a", PARIS)])
    with pytest.raises(FormatError, match="video_id or path"):
        score_places({"a": votes(LIMA)}, [true("", LIMA)])
