"""Batches: every input is accounted for."""

import json
from pathlib import Path

import pytest

from vgeo.errors import DiskError, FormatError, OutputError
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


def test_fail_fast_and_full_disks_end_the_batch() -> None:
    batch = Batch(fail_fast=True)
    with pytest.raises(FormatError), batch.item("a"):
        raise FormatError("bad")
    patient = Batch()
    with pytest.raises(DiskError), patient.item("a"):
        raise DiskError("full")
    assert [o.exit_code for o in (*batch.outcomes, *patient.outcomes)] == [65, 74]


def test_interrupts_and_bugs_pass() -> None:
    for error in (KeyboardInterrupt, ZeroDivisionError):
        batch = Batch()
        with pytest.raises(error), batch.item("a"):
            raise error
        assert batch.outcomes == []


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        Batch(tmp_path)
