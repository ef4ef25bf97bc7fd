"""clips.csv: one line a clip, and what a person wrote is kept."""

from pathlib import Path

import pytest

from vgeo.formats.clip_table import format_clip_table, update_clip_table
from vgeo.records import FrameRecord


def frames(**labels: dict[str, str]) -> list[FrameRecord]:
    return [
        FrameRecord(video_id=name, frame_index=i, time_s=i, path=f"{name}/{i}.jpg", labels=said)
        for name, said in labels.items()
        for i in range(2)
    ]


def test_one_line_a_clip() -> None:
    lund = {"city": "Lund", "state": "=Skane", "country": "Sweden", "continent": "Europe", "source": "drive"}
    assert format_clip_table(frames(a=lund, b={"city": 'Li"ma, x'}, c={"split": "val"})) == (
        "path,city,state,country,continent,source\n"
        "a,Lund,'=Skane,Sweden,Europe,drive\n"
        'b,"Li""ma, x",,,,\n'
    )  # fmt: skip
    split = format_clip_table(frames(a={"city": "Lund", "split": "val"}, b={"city": "Lima", "split": "train"}))
    assert split == "path,city,state,country,continent,split\na,Lund,,,,val\nb,Lima,,,,train\n"
    some = format_clip_table(frames(a={"city": "Lund", "split": "val"}, b={"city": "Lima"}))
    assert some == "path,city,state,country,continent\na,Lund,,,\nb,Lima,,,\n", "not every clip has a split"
    assert format_clip_table(frames(a={"split": "val"})) == ""


def test_what_a_person_wrote_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = tmp_path / "clips.csv"
    update_clip_table(tmp_path, frames(a={"city": "Lund"}))
    update_clip_table(tmp_path, frames(a={"city": "Lima"}))
    assert "a,Lima" in table.read_text(), "its own is made anew"
    update_clip_table(tmp_path, frames(a={}))
    assert not list(tmp_path.iterdir()), "and removed where nothing has a city"
    update_clip_table(tmp_path, frames(a={"city": "Lund"}))
    changed = table.read_text().replace("Lund", "Malmö")
    table.write_text(changed)
    assert not caplog.text
    for said in ({"city": "Lund"}, {}):
        update_clip_table(tmp_path, frames(a=said))
        assert table.read_text() == changed
    assert "changed by hand and is kept" in caplog.text
    update_clip_table(tmp_path, frames(a={"city": "Malmö"}))
    assert table.read_text() == changed


def test_somebody_elses_table_is_kept(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("mine")
    update_clip_table(tmp_path, frames(a={"city": "Lund"}))
    assert (tmp_path / "clips.csv").read_text() == "mine"
