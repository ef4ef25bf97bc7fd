"""The published list of CityGuessr68k, line by line, and the files of names and ids beside it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from cityguessrmaker import HEADER, IDS, MAPPING, PLACES, list_line, mapping_of, write_mapping, write_table

from vgeo.errors import FormatError, InputError
from vgeo.formats.cityguessr_list import first_line, is_list, read_list, read_values
from vgeo.formats.hierarchies import read_mapping, read_names


def test_paths_and_ids(tmp_path: Path) -> None:
    lines = [list_line("/a/b c/v1", IDS[0]), "", list_line(" ünï ", IDS[5]).replace("0.25", "-1.5e-03", 20)]
    file = tmp_path / "l"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert is_list(first_line(file))
    paths, ids = read_list(file)
    assert paths == ["/a/b c/v1", "ünï"] and ids.tolist() == [list(IDS[0]), list(IDS[5])]


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        (list_line("v", IDS[1], 532), FormatError, "l line 3: 532 fields, not 533 (path, 4 ids, 512 text, 16 scenes)"),
        (list_line("v", IDS[1], 534), FormatError, "l line 3: 534 fields"),
        (list_line("a,b", IDS[1]), FormatError, "l line 3: 534 fields"),
        ("v,1,1,1,1", FormatError, "l line 3: 5 fields"),
        ("\0" * 3_000_000, FormatError, "l line 3: 1 fields"),
        (list_line("v", (1, 1, 1, -1)), FormatError, "l line 3: '-1' is no id of a continent"),
        (list_line("v", (1, 1, 1)), FormatError, "l line 3: 532 fields"),
        (list_line("v", (1, 1, 1, 10**12)), FormatError, "is no id of a continent"),
        (list_line("v", (0, 1, 1, 1)), FormatError, "l line 3: city 0 is in state 1, by earlier lines in 0"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, line: str, error: type[Exception], said: str) -> None:
    file = tmp_path / "l"
    file.write_text(f"{list_line('a', IDS[0])}\n\n{line}\n{list_line('z', IDS[2])}\n")
    with pytest.raises(error) as found:
        read_list(file)
    assert said in str(found.value)


def test_no_text_and_nothing(tmp_path: Path) -> None:
    file = tmp_path / "l"
    file.write_bytes(list_line("é", IDS[0]).encode("latin-1"))
    with pytest.raises(FormatError, match="l line 1: not UTF-8 text"):
        read_list(file)
    file.write_text("\n")
    with pytest.raises(InputError, match="it is empty"):
        read_list(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_list(tmp_path)
    assert not is_list("path,city,state,country,continent") and not is_list("") and not is_list("v,1,2,3")


def test_names_and_mapping(tmp_path: Path) -> None:
    write_table(tmp_path / "n.csv", HEADER[1:], PLACES[::-1])
    write_mapping(tmp_path / "m.json")
    names, up = read_names(tmp_path / "n.csv"), read_mapping(tmp_path / "m.json")
    assert mapping_of(names) == MAPPING and [step.tolist() for step in up] == [list(d.values()) for d in MAPPING]
    write_mapping(tmp_path / "m.json", MAPPING[:2])
    with pytest.raises(FormatError, match=r"m\.json: not a list of 3"):
        read_mapping(tmp_path / "m.json")
    write_table(tmp_path / "n.csv", HEADER[1:], [*PLACES, ("Singapore", "", "Singapore", "Asia")])
    with pytest.raises(FormatError, match=r"n\.csv: Singapore, Singapore, Asia: no state"):
        read_names(tmp_path / "n.csv")


def valued(path: str, ids: Sequence[int], text: Sequence[object], scenes: Sequence[object]) -> str:
    return ",".join(map(str, [path, *ids, *text, *scenes]))


def test_text_of_cities_and_scenes_of_videos(tmp_path: Path) -> None:
    """Against numpy's own reading of the same numbers; Ghent's text is written in two ways."""
    rng = np.random.default_rng(0)
    text = {city: rng.normal(size=512) for city in (1, 3)}
    scenes = rng.multinomial(100, np.ones(16) / 16, 4) / 100
    rows = [("a/1", IDS[1]), ("a/2", IDS[3]), ("b/1", IDS[1]), ("b/2", IDS[3])]
    forms = ["{!r}", "{:.12f}", "{!r}", " {:.5e}"]
    lines = [
        valued(path, ids, [form.format(float(x)) for x in text[ids[0]]], scene.tolist())
        for (path, ids), form, scene in zip(rows, forms, scenes, strict=True)
    ]
    file = tmp_path / "l"
    file.write_bytes("\r\n".join([*lines, "", lines[0]]).encode())  # the first once more, as it was
    values = read_values(file)
    assert values.paths == [path for path, _ in rows] + ["a/1"] and values.ids[:4].tolist() == [
        list(r[1]) for r in rows
    ]
    table = np.loadtxt(file, delimiter=",", usecols=range(5, 533))
    np.testing.assert_allclose(values.scenes, table[:, 512:], rtol=1e-6)
    assert set(values.text_of_city) == {1, 3} and values.text_of_city[1].dtype == values.scenes.dtype == np.float32
    by_clip = values.text_by_clip()
    np.testing.assert_allclose([by_clip[path] for path, _ in rows], table[:4, :512], rtol=1e-4, atol=1e-6)
    assert by_clip["a/1"] is by_clip["b/1"]  # once a city
    assert values.scenes_by_clip()["b/2"].tolist() == values.scenes[3].tolist()
    assert read_list(file)[0] == values.paths


FLAT = [1 / 16] * 16


@pytest.mark.parametrize(
    ("text", "scenes", "said"),
    [
        (["x" if i == 7 else 0.25 for i in range(512)], FLAT, "its text has 'x', not a number"),
        ([""] * 512, FLAT, "its text has '', not a number"),
        (["nan", *[0.25] * 511], FLAT, "its text has numbers that are not finite"),
        (["1e300", *[0.25] * 511], FLAT, "its text has numbers that are not finite"),
        ([0] * 512, FLAT, "its text is all zeros"),
        ([0.25] * 512, ["y", *FLAT[1:]], "indoor_shopping_dining is y, not a number"),
        ([0.25] * 512, [*FLAT[1:], "nan"], "built_commercial_town is nan, not a number"),
        ([0.25] * 512, [-0.5, 0.5, *FLAT[2:]], "indoor_shopping_dining is -0.5, which no share can be"),
        ([0.25] * 512, [0.5, *FLAT[1:]], "its shares sum to 1.438, not to 1"),
        ([0.25] * 512, [0] * 16, "its shares sum to 0, not to 1"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_damaged_values_are_named(tmp_path: Path, text: list[object], scenes: list[object], said: str) -> None:
    (tmp_path / "l").write_text(f"{list_line('a', IDS[0])}\n\n{valued('b', IDS[1], text, scenes)}\n")
    with pytest.raises(FormatError) as found:
        read_values(tmp_path / "l")
    assert str(found.value) == f"{tmp_path / 'l'} line 3: {said}"


def test_lines_that_contradict_each_other(tmp_path: Path) -> None:
    file, first = tmp_path / "l", list_line("a", IDS[3])
    other = first.replace("a,", "b,", 1)
    near, far = other.replace("0.25", "0.2501", 1), other.replace("0.25", "0.26", 1)
    file.write_text(f"{first}\n{other}\n{near}\n".replace("b,", "c,", 1))
    assert len(read_values(file).paths) == 3
    for lines, said in [
        ([first, other, far], "line 3: the text of city 3 is another than in line 1"),
        ([first, other, first.replace("0.0625,0.0625", "0.125,0.0", 1)], "line 3: says of a other things than line 1"),
        ([first, list_line("b", (3, 2, 2, 2))], "line 2: city 3 is in state 2, by earlier lines in 1"),
        ([first, list_line("a", IDS[1])], "line 2: says of a other things than line 1"),
    ]:
        file.write_text("\n".join(lines))
        with pytest.raises(FormatError, match=said):
            read_values(file)
    file.write_text("\n")
    with pytest.raises(InputError, match="it is empty"):
        read_values(file)
