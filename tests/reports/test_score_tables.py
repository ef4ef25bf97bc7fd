"""Scores as text: what a name may hold, and numbers as people read them."""

import csv
import io
import json

import numpy as np
import pytest

from vgeo.records import Track
from vgeo.reports.tables import RENDERERS, score_csv, score_latex, score_markdown, score_table, table_1_row
from vgeo.stages.score_trajectory import score


@pytest.fixture
def report():
    predictions = [
        Track(video_id="[red]=a|b\x1b[2J", latlon_deg=np.array([[0.0, 0.0], [0.0, 0.2]])),
        Track(video_id="=b", latlon_deg=np.array([[0.0, 0.0]])),
    ]
    truth = [Track(video_id=t.video_id, latlon_deg=np.zeros((len(t), 2))) for t in predictions]
    return score(predictions, truth)


def test_every_format_ends_in_one_line_end(report) -> None:
    for name, render in RENDERERS.items():
        for per_clip in (False, True):
            text = render(report, "run", per_clip)
            assert text.endswith("\n") and not text.endswith("\n\n"), name


def test_names_do_no_harm(report) -> None:
    table = score_table(report, "", per_clip=True)
    assert "[red]=a|b?[2J" in table and "\x1b" not in table
    assert r"[red]=a\|b" in score_markdown(report, "", per_clip=True)
    rows = list(csv.DictReader(io.StringIO(score_csv(report, "", per_clip=True))))
    assert rows[1]["video_id"] == "'=b"
    assert score_latex(report, "50%_a&b").splitlines()[1].startswith(r"50\%\_a\&b & ")
    assert json.loads(RENDERERS["json"](report, "", True))["per_clip"][1]["video_id"] == "=b"


def test_cells_of_table_1(report) -> None:
    # frames: errors 0, 22.2 and 0 km; videos: 22.2 (or 0) and 0; DFD 0.2 and 0 degrees; MRD 0.1 and 0
    assert table_1_row(report)[:5] == ["66.7", "66.7", "66.7", "100.0", "0.00"]
    assert table_1_row(report)[-2:] == ["0.10", "0.05"]
