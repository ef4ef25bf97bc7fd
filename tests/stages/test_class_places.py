"""The classes that clips' labels lead to."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cityguessrmaker import IDS, MAPPING, PLACES, mapping_of

from vgeo.errors import FormatError, InputError
from vgeo.formats.gallery import Gallery
from vgeo.formats.place_labels import LabelledClip
from vgeo.records import LEVELS, PlaceLabels
from vgeo.stages.class_places import KIND, classes_of, find_classes


@dataclass
class Labelled:
    """Clips of one row."""

    labels: dict[str, list[str]]
    latlon_deg: Any = None
    path: Path = Path("f.h5")
    video_ids: list[str] = field(init=False)
    first_row: Any = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.labels["city"])
        self.video_ids = [f"v{i}" for i in range(count)]
        self.first_row = np.arange(count + 1)
        if self.latlon_deg is None:
            self.latlon_deg = np.full((count, 2), np.nan)


def clips(*places: tuple[str, ...], at: Any = None) -> Labelled:
    """Clips of (city, state, country, continent), as many as are named."""
    columns = {level: [place[i] if i < len(place) else "" for place in places] for i, level in enumerate(LEVELS)}
    return Labelled(columns, at)


def gallery(*places: tuple[str, ...], at: Any = None) -> Gallery:
    labels = {level: np.array([place[i] for place in places], object) for i, level in enumerate(LEVELS)}
    positions = np.array(at or [[float(i), 10.0 * i] for i in range(len(places))])
    return Gallery(latlon_deg=positions, labels=labels, attributes={"kind": "cities"})


def test_ids_are_numbered_as_published() -> None:
    shuffled = [PLACES[i] for i in (3, 0, 5, 3, 2, 1, 4)]
    classes, (ids,) = find_classes([clips(*shuffled)], None)
    assert ids.tolist() == [list(IDS[i]) for i in (3, 0, 5, 3, 2, 1, 4)]
    assert mapping_of(classes.hierarchy) == MAPPING and classes.counts == (6, 5, 4, 3)
    assert classes.gallery.attributes["kind"] == KIND
    assert classes.gallery.labels["city"].tolist() == [place[0] for place in PLACES]
    paris = classes.gallery.latlon_deg[5]
    assert paris.tolist() == pytest.approx([48.85, 2.35], abs=0.05), "of GeoNames"
    assert classes_of(classes.gallery, "g").digest == classes.digest


def test_the_digest_is_of_all_levels_and_not_of_positions() -> None:
    """A model learns heads for all levels: with another state above a city it is another model."""
    one = ("Lund", "Skane", "Sweden", "Europe")
    same, moved, elsewhere = (
        find_classes([clips(place)], gallery(place, at=at))[0]
        for place, at in ((one, [[1.0, 2.0]]), (one, [[3.0, 4.0]]), (("Lund", "Scania", *one[2:]), [[1.0, 2.0]]))
    )
    assert same.digest == moved.digest != elsewhere.digest
    assert same.gallery.features == {} and same.gallery.encoders == {}


def test_cities_that_go_by_ids_lie_where_a_table_says() -> None:
    table = [
        LabelledClip(video_id=f"v{i}", labels=PlaceLabels(city=str(i), country="0"), latlon_deg=(10.0 + i, 20.0))
        for i in range(2)
    ]
    classes, _ = find_classes([clips(("0", "", "0"), ("1", "", "0"))], None, table)
    assert classes.gallery.latlon_deg.tolist() == [[10, 20], [11, 20]]
    nowhere, _ = find_classes([clips(("0", "", "0"), ("1", "", "0"))], None)
    assert np.isnan(nowhere.gallery.latlon_deg).all()


def test_several_files_have_one_numbering() -> None:
    _, (a, b) = find_classes([clips(PLACES[4]), clips(PLACES[1], PLACES[3])], None)
    assert (a.tolist(), b.tolist()) == ([[2, 1, 1, 1]], [[0, 0, 0, 0], [1, 0, 0, 0]])


def test_a_gallery_gives_places_names_and_levels(caplog: pytest.LogCaptureFixture) -> None:
    """Of its cities only those that clips are of; a clip that names city and country is told apart by these."""
    known = gallery(("Rome", "Lazio", "Italy", "Europe"), *PLACES)
    classes, (ids,) = find_classes([clips(("Paris", "", "France"), ("Oslo",), ("",), ("Accra",))], known)
    assert classes.gallery.labels["city"].tolist() == ["Accra", "Paris"] and classes.counts == (2, 2, 2, 2)
    assert ids.tolist() == [[1, 1, 1, 1], [-1] * 4, [-1] * 4, [0, 0, 0, 0]]
    assert classes.gallery.latlon_deg.tolist() == [[1.0, 10.0], [6.0, 60.0]]
    assert "1 clips are not labelled with a city" in caplog.text
    assert "1 clips mean no city of the gallery, or several, and are left out: Oslo (1)" in caplog.text


def test_levels_that_nobody_knows_are_left_out() -> None:
    known = gallery(("Accra", "", "Ghana", ""), ("Paris", "", "France", ""))
    classes, (ids,) = find_classes([clips(("Paris",), ("Accra",))], known)
    assert classes.hierarchy.levels == ("city", "country") and ids.tolist() == [[1, 1], [0, 0]]


def test_a_level_that_some_lack_is_said() -> None:
    known = gallery(("Accra", "", "Ghana", ""), ("Paris", "Île-de-France", "France", ""))
    classes, _ = find_classes([clips(("Paris",), ("Accra",))], known)
    assert classes.hierarchy.levels == ("city", "country"), "no clip names a state"
    with pytest.raises(FormatError, match="Accra, Ghana: no state, which other places have"):
        find_classes([clips(("Paris", "Île-de-France"), ("Accra",))], known)


def test_a_city_in_two_states_is_two_and_said(caplog: pytest.LogCaptureFixture) -> None:
    springfields = [("Springfield", state, "United States", "North America") for state in ("Illinois", "Missouri")]
    classes, (ids,) = find_classes([clips(*springfields)], None)
    assert classes.counts == (2, 2, 1, 1) and ids[:, 0].tolist() == [0, 1]
    assert abs(classes.gallery.latlon_deg[0, 1] - classes.gallery.latlon_deg[1, 1]) > 3
    assert "city Springfield is in Illinois, United States" in caplog.text and "counts as 2" in caplog.text


def test_a_city_that_several_are_meant_by_is_not_guessed(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FormatError, match=r"1 of 2 cities have no certain position.*--gallery"):
        find_classes([clips(("Springfield", "", "United States"), PLACES[0])], None)
    assert "Springfield, United States: ambiguous" in caplog.text


def test_a_city_that_geonames_does_not_know_lies_where_its_clips_do(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    here = np.array([[10.0, 20.0], [10.2, 20.0], [np.nan, np.nan], [50.0, 5.0]])
    places = [("Erewhon", "Butler", "Nowhere", "Europe")] * 3 + [PLACES[5]]
    classes, _ = find_classes([clips(*places, at=here)], None)
    assert classes.gallery.latlon_deg[0].tolist() == pytest.approx([10.1, 20.0])
    assert classes.gallery.latlon_deg[1].tolist() == pytest.approx([48.85, 2.35], abs=0.05), "which it knows"
    assert "1 cities lie where their clips do, GeoNames does not tell: Erewhon" in caplog.text


def test_a_table_says_where_cities_are() -> None:
    table = [
        LabelledClip(
            video_id="v0", labels=PlaceLabels(**dict(zip(LEVELS, PLACES[5], strict=True))), latlon_deg=(1.0, 2.0)
        )
    ]
    classes, _ = find_classes([clips(PLACES[5], PLACES[0])], None, table)
    assert classes.gallery.latlon_deg[1].tolist() == [1.0, 2.0]
    assert classes.gallery.latlon_deg[0].tolist() == pytest.approx([5.56, -0.2], abs=0.05)


def test_ids_lie_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    classes, (ids,) = find_classes([clips(*(tuple(map(str, row)) for row in IDS))], None)
    assert ids.tolist() == [list(row) for row in IDS] and np.isnan(classes.gallery.latlon_deg).all()
    assert "cities go by their ids" in caplog.text


def test_many_places_are_quick() -> None:
    names = [(f"C{i:05d}", f"S{i // 7:04d}", f"N{i // 100:03d}", "Europe") for i in range(20_000)]
    at = [[float(i % 80), float(i % 170)] for i in range(20_000)]
    classes, (ids,) = find_classes([clips(*names[::-1])], gallery(*names, at=at))
    assert classes.counts == (
        20_000,
        2858 + sum(i // 100 != (i - 1) // 100 and i % 7 > 0 for i in range(20_000)),
        200,
        1,
    )
    assert ids[:, 0].tolist() == list(range(20_000))[::-1]


@pytest.mark.parametrize(
    ("labels", "known", "phrase"),
    [
        (clips(("",), ("", "Lazio")), None, "no clip is labelled with its city"),
        (clips(("Oslo",)), gallery(*PLACES), "none of the clips' cities is in the gallery, Oslo first"),
    ],
)
def test_clips_that_lead_nowhere(labels: Labelled, known: Gallery | None, phrase: str) -> None:
    with pytest.raises(InputError, match=phrase):
        find_classes([labels], known)


def test_two_cities_of_one_name_need_their_states(caplog: pytest.LogCaptureFixture) -> None:
    twins = gallery(("Paris", "", "France", "Europe"), ("Paris", "", "United States", "North America"))
    classes, (ids,) = find_classes([clips(("Paris", "", "France"), ("Paris", "", "United States"))], twins)
    assert ids[:, 0].tolist() == [0, 1] and classes.counts == (2, 2, 2)
    same = gallery(("Paris", "Ain", "France", "Europe"), ("Paris", "Aude", "France", "Europe"))
    classes, (ids,) = find_classes([clips(("Paris", "", "France"), ("Paris", "Aude", "France"))], same)
    assert ids.tolist() == [[-1] * 4, [0] * 4] and classes.gallery.labels["state"].tolist() == ["Aude"]
    assert "1 clips mean no city of the gallery, or several, and are left out: Paris, France (1)" in caplog.text
