"""The published list of CityGuessr68k, line by line, and the files of names and ids beside it."""

from pathlib import Path

import pytest
from cityguessrmaker import HEADER, IDS, MAPPING, PLACES, list_line, mapping_of, write_mapping, write_table

from vgeo.errors import FormatError, InputError
from vgeo.formats.cityguessr_list import first_line, is_list, read_list
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
