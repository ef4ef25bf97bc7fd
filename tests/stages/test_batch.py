"""Batches: every input is accounted for."""

import json
from pathlib import Path

import pytest

from vgeo.errors import BusyError, DiskError, FormatError, OutputError, VgeoError
from vgeo.stages.batch import Batch


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_outcome_is_reported_as_it_comes(tmp_path: Path) -> None:
    report = tmp_path / "new" / "report.jsonl"
    with Batch(report) as batch:
        with batch.item("a.mp4") as item:
            item.frames, item.declared_frames, item.outputs = 3, 90, ["frames/a"]
            item.message = "remark"
        with batch.item("b.mp4"):
            raise FormatError("b.mp4: damaged")
        assert [line["status"] for line in lines(report)] == ["done", "failed"], "on disk before the batch ends"
        with batch.item("c.mp4") as item:
            item.skip("finished before")
        with batch.item("d.mp4"):
            raise PermissionError(13, "Permission denied", "d.mp4")
    first, second, third, fourth = lines(report)
    expected = {"input": "a.mp4", "status": "done", "message": "remark", "exit_code": 0, "frames": 3}
    assert first == {**expected, "declared_frames": 90, "outputs": ["frames/a"]}
    assert (second["input"], second["message"], second["exit_code"]) == ("b.mp4", "b.mp4: damaged", 65)
    assert (third["message"], third["exit_code"]) == ("finished before", 0)
    assert (fourth["message"], fourth["exit_code"]) == ("d.mp4: permission denied", 74)
    assert [outcome.status for outcome in batch.outcomes] == ["done", "failed", "skipped", "failed"]


@pytest.mark.parametrize(("error", "code"), [(FormatError("bad"), 65), (PermissionError(13, "no"), 74)])
def test_fail_fast_ends_the_batch(error: Exception, code: int) -> None:
    batch = Batch(fail_fast=True)
    with pytest.raises(type(error)), batch.item("a"):
        raise error
    assert [outcome.exit_code for outcome in batch.outcomes] == [code]


@pytest.mark.parametrize(("error", "code"), [(DiskError("full"), 74), (BusyError("in use"), 75)])
def test_what_the_next_input_would_meet_too_ends_the_batch(error: VgeoError, code: int) -> None:
    batch = Batch()
    with pytest.raises(type(error)), batch.item("a"):
        raise error
    assert [outcome.exit_code for outcome in batch.outcomes] == [code]


def test_interrupts_and_bugs_pass() -> None:
    for error in (KeyboardInterrupt, ZeroDivisionError):
        batch = Batch()
        with pytest.raises(error), batch.item("a"):
            raise error
        assert batch.outcomes == []


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        Batch(tmp_path)
