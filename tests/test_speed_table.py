"""The page of the speed table: what is on it, and that parts that were not run now stay as they were."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "benchmarks"))
from rows import Row

# Not by its name: the campaigns have a run.py too.
_spec = importlib.util.spec_from_file_location("speed_table", Path(__file__).parent / "benchmarks" / "run.py")
assert _spec is not None and _spec.loader is not None
table: Any = importlib.util.module_from_spec(_spec)
sys.modules["speed_table"] = table
_spec.loader.exec_module(table)


def result(*rows: Row, **given: object) -> Any:
    facts = {"seconds": 60.0, "load": 0.1, "when": "2026-01-02", "commit": "abc", "machine": "2 cores"}
    return table.Result(rows, **facts | given)


def test_rows_say_what_was_measured_and_whether_that_is_enough() -> None:
    page = table.page(
        {
            "geo": result(Row("cells", "s2sphere", 41.23, ">= 35", figures="2 ns, 82 ns", note="identical")),
            "startup": result(Row("help", "python", 14.0, "<= 13", note="rich"), Row("words", "python", 5.0)),
            "encode": result(Row("features | ViT", "product", 90.5, ">= 84", "%")),
            "train": result(Row("loading", "a step", 0.002)),
        }
    )
    assert "| cells | s2sphere | **41.2 ×** | >= 35 | yes | 2 ns, 82 ns |" in page
    assert "| help | python | **14 ×** | <= 13 | **no** |  |" in page
    assert "| words | python | **5 ×** |  |  |  |" in page
    assert "| features / ViT | product | **90.5** % | >= 84 | yes |  |" in page
    assert "* cells, against s2sphere: identical" in page
    speed, missed = page.split("## What misses its goal, and why")
    assert (
        "* **help**, against python: 14, goal <= 13. rich" in missed and "bench_decode.py** has not been run" in missed
    )
    assert "rich" not in speed and speed.index("## Further figures") < speed.index("loading")
    assert "2 cores: encode (2026-01-02, commit abc, 60 s, load 0.1 at its start), geo (" in missed
    assert "took 3.0 minutes" in missed  # without what is not in the table


def test_a_benchmark_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(table, "HERE", tmp_path)
    monkeypatch.setattr(table, "machine", lambda: "2 cores")  # which imports torch
    (tmp_path / "bench_bad.py").write_text("raise SystemExit(7)")
    (tmp_path / "bench_mute.py").write_text("")
    (tmp_path / "bench_slow.py").write_text("import time; time.sleep(60)")
    assert table.run("bad").failed == "ended with 7"
    assert table.run("mute").failed.startswith("wrote no rows")
    assert table.run("slow", 0.2).failed.startswith("not done")


def test_what_was_not_run_now_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(table, "HERE", tmp_path)
    monkeypatch.setattr(table, "STORE", tmp_path / "results.json")
    monkeypatch.setattr(table, "machine", lambda: "2 cores")
    row = '{"step": "s", "against": "a", "value": %s}'
    for name, value in (("geo", 1), ("startup", 2)):
        (tmp_path / f"bench_{name}.py").write_text(
            f"import sys; open(sys.argv[2], 'w').write('[{row % value}]'.replace('\"s\"', '\"{name}\"'))"
        )

    def run(*names: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["run.py", *names, "--out", str(tmp_path / "RESULTS.md")])
        return table.main(), (tmp_path / "RESULTS.md").read_text()

    assert run("geo")[0] == 0 and "| startup |" not in run("geo")[1]
    assert "| geo | a | **1 ×**" in run("startup")[1] and "| startup | a | **2 ×**" in run("startup")[1]
    (tmp_path / "bench_geo.py").write_text("raise SystemExit(1)")
    code, page = run("geo")
    assert code == 1 and "**bench_geo.py** ended with 1" in page and "| geo |" not in page and "| startup |" in page
    assert json.loads((tmp_path / "results.json").read_text())["startup"]["rows"][0]["value"] == 2
    with pytest.raises(SystemExit):
        run("nothing")
