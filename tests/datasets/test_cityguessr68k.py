"""CityGuessr68k: counts by hand on small trees, from a table of names and from the published lists."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cityguessrmaker import (
    HEADER,
    IDS,
    PLACES,
    list_line,
    listed,
    make_tree,
    rows,
    write_list,
    write_mapping,
    write_table,
    write_video,
)

from vgeo import datasets
from vgeo.datasets.base import Part, Recipe
from vgeo.datasets.cityguessr68k import CityGuessr68k
from vgeo.errors import FormatError, InputError, UsageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Pictures of six cities, and nothing that lists them."""
    return make_tree(tmp_path / "cg")


@pytest.fixture
def named(tree: Path) -> Path:
    write_table(tree / "labels.csv", HEADER, rows())
    return tree


@pytest.fixture
def published(tree: Path) -> Path:
    """The last video of each city is held out."""
    write_list(tree / "train.txt", {f"/data/x/{name}": ids for name, ids in listed().items() if name[-1] != "4"})
    write_list(tree / "test.txt", {f"/data/x/{name}": ids for name, ids in listed().items() if name[-1] == "4"})
    write_mapping(tree / "hierarchy_mappings.json")
    return tree


def opened(root: Path, **recipe: object) -> tuple[CityGuessr68k, dict[str, Part]]:
    layout = CityGuessr68k(root, Recipe(**recipe))  # type: ignore[arg-type]
    return layout, {name: layout.read(name) for name in layout.parts()}


def labels(parts: dict[str, Part]) -> dict[str, dict[str, str]]:
    return {
        video: said
        for p in parts.values()
        for video, said in zip(p.sequences.video_ids, p.sequences.labels, strict=True)
    }


def held(parts: dict[str, Part]) -> set[str]:
    return {video for video, said in labels(parts).items() if said["split"] == "val"}


def test_it_is_found_by_its_name() -> None:
    assert datasets.get("cityguessr68k") is CityGuessr68k


def test_counts_by_hand(named: Path) -> None:
    layout, parts = opened(named)
    assert list(parts) == ["Accra", "Bruges", "Delhi", "Ghent", "Mumbai", "Paris"]
    assert all(len(part.sequences) == part.rows == 5 and not part.left_out for part in parts.values())
    assert {name: Counter(v.split("_")[0] for v in held(parts))[name.lower()] for name in parts} == dict.fromkeys(
        parts, 1
    )
    lines = layout.summary(list(parts.values()))
    assert lines[0] == "cityguessr68k: 30 videos in labels.csv; left out: nothing"
    assert lines[1] == (
        "cityguessr68k: 30 videos = 24 train + 6 val (80:20 in each city, seed 0), 590 frames (10 to 20 a video), "
        "in 6 cities, 5 states, 4 countries, 3 continents"
    )
    for words in ("68,269 videos = 54,614 train + 13,655", "166 cities, 157 states, 91 countries, 6 continents"):
        assert words in lines[2]
    assert layout.remarks() == ["accra_0: of fewer than 16 frames (kept)"]
    assert layout.describe() == "min_frames=1 seed=0"


def test_frames_are_in_the_order_of_their_names(tree: Path) -> None:
    for name in ("9.jpg", "10.JPEG", "x.png", ".hidden.jpg", "notes.txt"):
        write = tree / "ghent_0" / name
        write.write_bytes(b"")
    write_table(tree / "labels.csv", HEADER, rows())
    _, parts = opened(tree)
    made = parts["Ghent"].sequences
    frames = made.frames(0)
    assert [frame.path for frame in frames[-4:]] == ["000019.jpg", "10.JPEG", "9.jpg", "x.png"] and len(frames) == 23
    assert [frame.frame_index for frame in frames] == list(range(23)) == [frame.time_s for frame in frames]
    assert all(frame.lat_deg is None and frame.timestamp_utc is None for frame in frames)
    assert dict(frames[0].labels, split="") == {**dict(zip(HEADER[1:], PLACES[3], strict=True)), "split": ""}
    clip = made.clips()[0]
    assert clip.path.parent == tree / "ghent_0" and all((clip.path.parent / frame.path).is_file() for frame in frames)
    assert np.isnan(made.latlon_deg).all() and made.latlon_deg.shape == (103, 2)


def test_the_draw_is_by_seed_and_city(named: Path) -> None:
    _, parts = opened(named)
    assert held(parts) == held(opened(named, seed=0)[1])
    assert len({frozenset(held(opened(named, seed=seed)[1])) for seed in range(4)}) > 1
    _, some = opened(named, cities=("PARIS", "delhi"))
    assert list(some) == ["Delhi", "Paris"] and held(some) == {v for v in held(parts) if v[0] in "dp"}


def test_published_lists_give_ids_and_the_split(published: Path) -> None:
    layout, parts = opened(published)
    assert list(parts) == ["0", "1", "2", "3", "4", "5"]
    said = labels(parts)
    assert said["mumbai_1"] == {"city": "4", "state": "3", "country": "2", "continent": "2", "split": "train"}
    assert held(parts) == {f"{place[0].lower()}_4" for place in PLACES}
    assert "24 train + 6 val (as in train.txt and test.txt)" in layout.summary(list(parts.values()))[1]
    assert len(layout.remarks()) == 2 and "their names are not published" in layout.remarks()[1]
    assert list(opened(published, cities=("4",))[1]) == ["4"]


def test_a_table_of_names_gives_the_names_back(published: Path) -> None:
    write_table(published / "cities.csv", HEADER[1:], PLACES[::-1])
    layout, parts = opened(published)
    said = labels(parts)
    for video, (_, *place) in {row[0]: row for row in rows()}.items():
        assert [said[video][level] for level in HEADER[1:]] == place
    assert layout.remarks() == ["data/x/accra_0: of fewer than 16 frames (kept)"]
    (published / "hierarchy_mappings.json").unlink()
    assert labels(opened(published)[1]) == said
    write_table(published / "cities.csv", HEADER[1:], PLACES[:5])
    with pytest.raises(FormatError, match=r"city 5 is unknown, cities.csv \(does it name every city\?\) names 0 to 4"):
        opened(published)
    write_mapping(published / "hierarchy_mappings.json")
    with pytest.raises(FormatError, match=r"cities.csv: 5 classes of city, not 6, as hierarchy_mappings.json has it"):
        opened(published)
    write_table(published / "cities.csv", ("city", "country", "continent"), [(p[0], *p[2:]) for p in PLACES])
    with pytest.raises(FormatError, match=r"cities.csv: names no state; the ids of a list are of four levels"):
        opened(published)


def test_ids_of_ten_cities_and_more_are_in_their_order(tmp_path: Path) -> None:
    root = tmp_path / "x"
    for i in range(12):
        write_video(root / f"v{i}", 16)
    write_list(root / "all.txt", {f"v{i}": (i, i, 0, 0) for i in range(12)})
    layout, parts = opened(root)
    assert list(parts) == [str(i) for i in range(12)] and held(parts) == set()
    assert any(line == "nothing is held out of cities of one video: 12, 0 first" for line in layout.remarks())


def test_one_list_is_split_by_us(published: Path, tmp_path: Path) -> None:
    _, parts = opened(published, labels=published / "train.txt")
    assert sum(len(part.sequences) for part in parts.values()) == 24 and len(held(parts)) == 6
    lists = tmp_path / "lists"
    lists.mkdir()
    for name in ("train.txt", "test.txt"):
        (published / name).rename(lists / name)
    _, parts = opened(published, labels=lists)  # mapping in the folder of the videos
    assert len(held(parts)) == 6
    write_mapping(published / "hierarchy_mappings.json", [{"0": 0}, {"0": 0}, {"0": 0}])
    with pytest.raises(FormatError, match=r"city 1 is unknown, hierarchy_mappings.json names 0 to 0"):
        opened(published, labels=lists)


def test_the_split_that_a_table_names(tree: Path) -> None:
    split = [(*row, "test" if row[0][-1] == "2" else "train") for row in rows()]
    write_table(tree / "labels.csv", (*HEADER, "split"), split)
    layout, parts = opened(tree)
    assert held(parts) == {f"{place[0].lower()}_2" for place in PLACES}
    assert "(as labels.csv names it, test is val)" in layout.summary(list(parts.values()))[1]
    write_table(tree / "labels.csv", (*HEADER, "split"), [*split[:-2], (*split[-2][:-1], "val"), split[-1]])
    assert Counter(said["split"] for said in labels(opened(tree)[1]).values()) == {"train": 23, "test": 6, "val": 1}
    write_table(tree / "labels.csv", (*HEADER, "split"), [*split[:-1], (*rows()[-1], "")])
    with pytest.raises(FormatError, match="names no split for 1 of 30 videos, paris_4 first; name all or none"):
        opened(tree)


def test_levels_that_are_missing(tree: Path) -> None:
    write_table(tree / "labels.csv", ("path", "city", "country"), [(r[0], r[1], r[3]) for r in rows()])
    layout, parts = opened(tree)
    assert set(labels(parts)["delhi_0"]) == {"city", "country", "split"} and len(layout.remarks()) == 1
    assert "in 6 cities, 4 countries" in layout.summary(list(parts.values()))[1]
    some = [(path, city, "" if path == "paris_3" else state) for path, city, state, *_ in rows()]
    some[0] = ("accra_0", "", "")
    write_table(tree / "labels.csv", HEADER[:3], some)
    layout, parts = opened(tree)
    assert "accra_0" not in labels(parts) and parts["no city"].left_out == {"without a city": 1}
    assert parts["Paris"].rows == 1 and parts["Paris, Île-de-France"].rows == 4
    assert layout.remarks() == [
        "accra_0: without a city",
        "paris_3: without a state",
        "nothing is held out of cities of one video: 1, Paris first",
        "city Paris is in nothing that is named and in Île-de-France, and counts as 2",
    ]


def test_two_cities_of_one_name_are_two(tree: Path) -> None:
    said = [(p, "Springfield" if c in ("Accra", "Delhi") else c, *rest) for p, c, *rest in rows()]
    write_table(tree / "labels.csv", HEADER, said)
    layout, parts = opened(tree)
    assert list(parts)[-2:] == ["Springfield, Delhi, India, Asia", "Springfield, Greater Accra, Ghana, Africa"]
    assert {v.split("_")[0] for v in held(parts)} == {place[0].lower() for place in PLACES}
    assert "city Springfield is in Delhi, India, Asia and in Greater Accra, Ghana, Africa" in layout.remarks()[1]
    assert list(opened(tree, cities=("springfield",))[1]) == list(parts)[-2:]


def test_folders_with_something_the_matter(named: Path) -> None:
    for name in ("delhi_0", "delhi_1"):
        for file in (named / name).iterdir():
            file.unlink()
        (named / name).rmdir()
    (named / "delhi_1").write_text("a file")
    for file in (named / "ghent_4").iterdir():
        file.rename(file.with_suffix(".txt"))
    layout, parts = opened(named)
    assert parts["Delhi"].left_out == {"without a folder": 2} and len(parts["Delhi"].sequences) == 3
    assert parts["Ghent"].left_out == {"with a folder without pictures": 1}
    assert layout.remarks()[1:] == [
        "2 videos without a folder, delhi_0 first", "ghent_4: with a folder without pictures",
    ]  # fmt: skip
    assert "2 without a folder, 1 with a folder without pictures" in layout.summary(list(parts.values()))[0]
    _, longer = opened(named, min_frames=16)
    assert longer["Accra"].left_out == {"of fewer than 16 frames": 1}


def test_each_folder_is_listed_once_and_no_picture_looked_at(named: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, seen, listdir = CityGuessr68k(named, Recipe()), Counter[str](), os.listdir

    def count(path: str) -> list[str]:
        seen[str(path)] += 1
        return listdir(path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("looked at")

    monkeypatch.setattr(os, "listdir", count)
    for name in ("stat", "lstat", "scandir"):
        monkeypatch.setattr(os, name, refuse)
    for part in layout.parts():
        layout.read(part)
    monkeypatch.undo()
    assert seen == {str(named / row[0]): 1 for row in rows()}


def test_ids_of_videos_all_differ(tmp_path: Path) -> None:
    root = tmp_path / "x"
    paths = ["v/a/1", "v/b/1", "v/b/2"]
    for path in paths:
        write_video(root / path, 16)
    write_table(root / "l.csv", HEADER[:2], [(f"./{path}/", "A") for path in paths])
    assert sorted(labels(opened(root)[1])) == ["2", "a_1", "b_1"]
    write_table(root / "l.csv", HEADER[:2], [("v/a/b_1", "A"), ("v/a_b/1", "A"), ("v/1", "A")])
    assert [*CityGuessr68k(root, Recipe())._ids.values()] == ["b_1", "a_b_1", "1"]
    write_table(root / "l.csv", HEADER[:2], [(p, "A") for p in ("v/a/b_1", "v/c/b_1", "v/a_b/1", "v/1")])
    with pytest.raises(FormatError, match="v/a/b_1 and v/a_b/1 would both be called a_b_1"):
        opened(root)


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (lambda r: (r / "labels.csv").unlink(), InputError, "no table of videos .* name one with --labels"),
        (lambda r: write_table(r / "b.csv", HEADER, rows()), FormatError, r"several tables of videos \(b.csv, labels"),
        (lambda r: write_list(r / "b.txt", listed()), FormatError, r"several tables of videos \(labels.csv, b.txt"),
        (lambda r: write_table(r / "labels.csv", HEADER, []), InputError, "names no clips, only a header"),
        (lambda r: write_table(r / "labels.csv", HEADER, [("../x", *PLACES[0])]), FormatError, "'../x' is no path of"),
        (lambda r: write_table(r / "labels.csv", HEADER, [rows()[0], (rows()[0][0], *PLACES[1])]), FormatError,
         "says different things of clip accra_0"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be(named: Path, damage: Callable[[Path], None], error: type[Exception], said: str) -> None:
    damage(named)
    with pytest.raises(error, match=said):
        opened(named)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda r: (r / "more.txt").write_text(list_line("v", IDS[0])), "lists more.txt, test.txt, train.txt"),
        (lambda r: (r / "test.txt").rename(r / "train2.txt"), "lists train.txt, train2.txt; keep two"),
        (lambda r: (r / "test.txt").write_text(list_line("/data/x/ghent_0", IDS[3])), "ghent_0 is both in train.txt"),
        (lambda r: (r / "test.txt").write_text(f"{list_line('v', IDS[0])}\n{list_line('v', IDS[1])}"),
         "v is twice, with other ids, in test.txt"),
        (lambda r: write_mapping(r / "hierarchy_mappings (2).json"), "several mappings"),
        (lambda r: (r / "a.csv").write_text("city\nx") + (r / "b.csv").write_text("city\nx"), "several tables of"),
    ],
)  # fmt: skip
def test_lists_that_cannot_be(published: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(published)
    with pytest.raises(FormatError) as found:
        opened(published)
    assert said in str(found.value)


def test_lists_that_differ_without_a_mapping(published: Path) -> None:
    (published / "hierarchy_mappings.json").unlink()
    opened(published)
    (published / "test.txt").write_text(list_line("v", (0, 1, 1, 1)))
    with pytest.raises(
        FormatError, match=r"train.txt and test.txt differ: city 0 is in state 1, by earlier lines in 0"
    ):
        opened(published)


def test_listed_twice_counts_once(published: Path) -> None:
    (published / "test.txt").write_text(f"{list_line('v', IDS[0])}\n" * 3)
    layout, parts = opened(published)
    assert layout.summary(list(parts.values()))[0].endswith(
        "27 videos in train.txt and test.txt; left out: 2 listed twice, 1 without a folder"
    )


def test_what_it_does_not_do_is_refused(named: Path) -> None:
    for recipe, said in (
        ({"apart_m": 5}, "--apart-m"),
        ({"with_test": True}, "--with-test"),
        ({"split_gaps": True}, "--split-gaps"),
    ):
        with pytest.raises(UsageError, match=f"{said}: does nothing with --layout cityguessr68k"):
            opened(named, **recipe)
    with pytest.raises(UsageError, match=r"--city rome: not in labels.csv, which names Accra, .*, Paris$"):
        opened(named, cities=("rome",))
    with pytest.raises(InputError, match="none: no such folder"):
        opened(named / "none")
    with pytest.raises(InputError, match="no such table, list or folder"):
        opened(named, labels=named / "none.csv")
