"""The short cut of each campaign, and the page that they write."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import run
from trials import Trial

# How much of each campaign the default tests take: seconds of each.
SHARES: dict[str, float] = {
    "disks": 0.1,
    "hostile": 0.01,
    "manners": 0.01,
    "memory": 0.1,
    "damaged": 0.012,
    "folder": 0.05,
    "cluster": 0.05,
    "guards": 0.02,
    "output": 0.02,
    "shared": 0.03,
    "kills": 0.005,
    "determinism": 0.01,
}


@pytest.mark.parametrize("name", run.names())
def test_short_cut_of_campaign_holds(name: str, tmp_path: Path) -> None:
    trials, _ = run.run(name, SHARES[name], tmp_path / "log.jsonl")
    assert trials
    assert [trial for trial in trials if not trial.ok] == []


def test_page_replaces_only_the_parts_that_were_run() -> None:
    page = run.HEAD + "\n## One: `aa`\n\nformer\n\n## Two: `bb`\n\nkept\n"
    merged = run.merge(page, {"aa": "## One: `aa`\n\nnew\n"})
    assert "new" in merged and "kept" in merged and "former" not in merged
    assert merged.index("`aa`") < merged.index("`bb`")


def test_a_trial_that_does_not_hold_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        TITLE, PROMISE = "Broken", "Holds."

        @staticmethod
        def trials(scratch: Path, share: float) -> list[Trial]:
            return [Trial("first", "kind", True), Trial("second", "kind", False, "was lost")]

    monkeypatch.setattr(run, "load", lambda name: Broken)
    trials, seconds = run.run("broken", 1.0, tmp_path / "log.jsonl")
    text = run.part("broken", trials, seconds)
    assert "| kind | 2 | 1 |" in text and "second: was lost" in text and "not the whole" not in text
    assert "A share of 0.5, not the whole campaign." in run.part("broken", trials, seconds, 0.5)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
