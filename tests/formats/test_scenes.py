"""scenes.csv: what is written comes back, columns in any order; what cannot be is named with its line."""

import csv
from pathlib import Path

import numpy as np
import pytest

from vgeo.errors import FormatError, InputError
from vgeo.formats.scenes import AREAS, GROUPS, ClipScenes, read_scenes, write_scenes


def row(video_id: str, **shares: float | str) -> dict[str, float | str]:
    return {"video_id": video_id, "frames": 9, **dict.fromkeys(GROUPS, 0), **shares}


def write(path: Path, *rows: dict[str, float | str], columns: tuple[str, ...] = (), delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns or ("video_id", "frames", *GROUPS), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
    return path


def test_the_groups_are_those_of_places365_in_their_order() -> None:
    assert len(GROUPS) == len(set(GROUPS)) == 16
    assert [len(groups) for groups in AREAS.values()] == [6, 4, 6]
    assert [group for groups in AREAS.values() for group in groups] == list(GROUPS)


def test_shares_come_back(tmp_path: Path) -> None:
    thirds = np.zeros(16)
    thirds[[3, 4, 15]] = 1 / 3
    clips = [
        ClipScenes(video_id='a, "b"\n=c', frames=3, shares=thirds),
        ClipScenes(video_id="=1+1", frames=100, shares=np.eye(16)[7]),
    ]
    write_scenes(tmp_path / "scenes.csv", clips)
    found = read_scenes(tmp_path / "scenes.csv")
    assert list(found) == ['a, "b"\n=c', "=1+1"]
    for clip in clips:
        assert found[clip.video_id].dtype == np.float32
        np.testing.assert_allclose(found[clip.video_id], clip.shares, atol=1e-8)
    lines = (tmp_path / "scenes.csv").read_text().splitlines()
    assert lines[0].split(",") == ["video_id", "frames", *GROUPS]
    assert lines[-1] == "'=1+1,100,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,0"


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    said = row("a", built_transport=0.25, indoor_workplace=0.75)
    order = (*reversed(GROUPS), "remark", "video_id")
    path = write(tmp_path / "s.csv", {k: v for k, v in said.items() if k != "frames"}, columns=order)
    path.write_text(path.read_text().replace("built_transport", " Built Transport "))
    (shares,) = read_scenes(path).values()
    assert shares[GROUPS.index("built_transport")] == 0.25 and shares[GROUPS.index("indoor_workplace")] == 0.75
    assert shares.sum() == 1


def test_a_spreadsheet_of_another_country(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", row("a", built_transport="0,25", indoor_workplace="0,75"), delimiter=";")
    assert read_scenes(path)["a"][10] == 0.25


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            row("b", built_transport=-0.5, indoor_workplace=1.5),
            "line 3: built_transport is -0.5, which no share can be",
        ),
        (row("b", built_transport=0.5), "line 3: its shares sum to 0.5, not to 1"),
        (row("b", built_transport=100), "line 3: its shares sum to 100, not to 1"),
        (row("b", built_transport="many"), "line 3: built_transport is many, not a number"),
        (row("b", built_transport="nan"), "line 3: built_transport is nan, not a number"),
        (row("b", built_transport=""), "line 3: built_transport is empty, not a number"),
        (row("a", built_transport=1), "line 3: names clip a again"),
        (row("", built_transport=1), "line 3: names no clip"),
    ],
)
def test_what_cannot_be_is_named_with_its_line(tmp_path: Path, second: dict[str, float | str], said: str) -> None:
    path = write(tmp_path / "s.csv", row("a", indoor_workplace=1), second)
    with pytest.raises(FormatError) as caught:
        read_scenes(path)
    assert str(caught.value).startswith(f"{path} {said}")


def test_a_table_of_something_else(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", columns=("video_id", *GROUPS[:-2]))
    with pytest.raises(FormatError, match="no column built_houses_farms and 1 more"):
        read_scenes(path)
    write(path, columns=("video_id", *GROUPS, GROUPS[0]))
    with pytest.raises(FormatError, match="column indoor_shopping_dining twice"):
        read_scenes(path)
    write(path)
    with pytest.raises(InputError, match="names no clips"):
        read_scenes(path)
    path.write_text(f"video_id,{','.join(GROUPS)}\na,1,0\n")
    with pytest.raises(FormatError, match="line 2: has 3 cells"):
        read_scenes(path)
    path.write_text("")
    with pytest.raises(FormatError, match="no column video_id"):
        read_scenes(path)
    with pytest.raises(InputError, match="no such file"):
        read_scenes(tmp_path / "none.csv")
