"""Run the benchmarks of the speed table, each in a process of its own, and write RESULTS.md.

    python tests/benchmarks/run.py                  # all of them
    python tests/benchmarks/run.py geo startup      # only these; the others' rows stay as they were
    python tests/benchmarks/run.py further          # those that are not in the speed table
    python tests/benchmarks/run.py --out -          # printed, nothing written

What they gave lies in results.json, from which the page is made anew each time. Ends with 1 where one of them failed;
a goal that is missed is no failure, but is named on the page.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

from rows import Row  # noqa: E402

PAGE, STORE = HERE / "RESULTS.md", HERE / "results.json"
TABLE = ("decode", "barcodes", "encode", "features", "keys", "search", "predict", "frechet", "geo", "steps", "startup",
         "scaling")  # fmt: skip
FURTHER = ("train", "frame_store", "hierarchical", "tile_keys")
PACKAGES = ("torch", "numpy", "av", "torchcodec", "decord2", "h5py", "transformers", "faiss-cpu", "geoclip", "shapely",
            "s2sphere")  # fmt: skip
HEAD = """# How fast it is

Made by `python tests/benchmarks/run.py`; one benchmark's rows by `python tests/benchmarks/run.py NAME`. Each compares
vgeo with a named alternative in one run, interleaved, medians; ratios say more than times. What was learnt about
training and accuracy is in [EXPERIMENTS.md](EXPERIMENTS.md).
"""
LIMIT_S = 30 * 60


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark gave, or why it gave nothing."""

    rows: tuple[Row, ...]
    seconds: float
    load: float  # of the machine when it began
    when: str
    commit: str
    machine: str
    failed: str = ""

    @classmethod
    def of(cls, kept: dict) -> "Result":
        return cls(**kept | {"rows": tuple(Row(**row) for row in kept["rows"])})


def run(name: str, limit_s: float = LIMIT_S) -> Result:
    """Run one in a fresh process; what it prints goes to stderr."""
    facts = {"load": round(os.getloadavg()[0], 1), "when": time.strftime("%Y-%m-%d"), "commit": _commit(),
             "machine": machine()}  # fmt: skip
    script, start, failed = HERE / f"bench_{name}.py", time.monotonic(), ""
    rows: tuple[Row, ...] = ()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        try:
            subprocess.run([sys.executable, str(script), "--json", str(out)], check=True, stdout=sys.stderr,
                           timeout=limit_s)  # fmt: skip
            rows = tuple(Row(**row) for row in json.loads(out.read_text()))
        except subprocess.CalledProcessError as error:
            failed = f"ended with {error.returncode}"
        except subprocess.TimeoutExpired:
            failed = f"not done after {limit_s / 60:.0f} minutes"
        except (OSError, ValueError, TypeError) as error:
            failed = f"wrote no rows ({error})"
    return Result(rows, time.monotonic() - start, failed=failed, **facts)


def machine() -> str:
    """Cores, model, memory, accelerator and versions, in words."""
    cpu = next((line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    flags = next((line.split() for line in _lines("/proc/cpuinfo") if line.startswith("flags")), [])
    fast = [name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in flags][:1]
    kilobytes = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    facts = [f"{len(os.sched_getaffinity(0))} cores of {cpu or platform.machine()} ({', '.join(fast) or 'plain'})"]
    facts += [f"{kilobytes / 2**20:.0f} GiB", _gpu(), f"Linux {platform.release()}"]
    facts += [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in PACKAGES)]
    return ", ".join(facts)


def page(results: dict[str, Result], pictures: Iterable[Path] = ()) -> str:
    """RESULTS.md."""
    order = [name for name in (*TABLE, *FURTHER) if name in results]
    parts = [HEAD, _tables("Speed table", [n for n in order if n in TABLE], results)]
    if others := [n for n in order if n in FURTHER]:
        parts.append(_tables("Further figures", others, results))
    parts += [_missed(order, results), _pictures(pictures), _runs(order, results)]
    return "\n".join(part for part in parts if part)


def _tables(title: str, names: Sequence[str], results: dict[str, Result]) -> str:
    lines = [f"## {title}", "", "| step | against | measured | goal | reached | figures |", "|---|---|---|---|---|---|"]
    lines += [_line(row) for name in names for row in results[name].rows]
    notes = [row for name in names for row in results[name].rows if row.note and row.reached is not False]
    lines += ["", *(f"* {row.step}, against {row.against}: {row.note}" for row in notes)]
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Row) -> str:
    reached = {None: "", True: "yes", False: "**no**"}[row.reached]
    unit = "" if row.unit in ("", "×") else f" {row.unit}"
    times = " ×" if row.unit == "×" else ""
    cells = (row.step, row.against, f"**{_figure(row.value)}{times}**{unit}", row.goal, reached, row.figures)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _missed(names: Sequence[str], results: dict[str, Result]) -> str:
    rows = [row for name in names for row in results[name].rows if row.reached is False]
    lines = [
        f"* **{row.step}**, against {row.against}: {_figure(row.value)}, goal {row.goal}. {row.note}".rstrip()
        for row in rows
    ]
    lines += [f"* **bench_{name}.py** {results[name].failed}." for name in names if results[name].failed]
    lines += [f"* **bench_{name}.py** has not been run." for name in TABLE if name not in names]
    return "\n".join(["## What misses its goal, and why", "", *(lines or ["Nothing."])]) + "\n"


def _pictures(paths: Iterable[Path]) -> str:
    lines = [f"![{path.stem}]({os.path.relpath(path, HERE)})" for path in sorted(paths)]
    return "\n".join(["## As things grow", "", *lines]) + "\n" if lines else ""


def _runs(names: Sequence[str], results: dict[str, Result]) -> str:
    by_machine: dict[str, list[str]] = {}
    for name in names:
        result = results[name]
        said = (
            f"{name} ({result.when}, commit {result.commit}, {result.seconds:.0f} s, load {result.load} at its start)"
        )
        by_machine.setdefault(result.machine, []).append(said)
    lines = [f"* {facts}: {', '.join(runs)}." for facts, runs in by_machine.items()]
    total = sum(results[name].seconds for name in names if name in TABLE)
    return "\n".join(["## Machine", "", *lines, "", f"The whole speed table took {total / 60:.1f} minutes."]) + "\n"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _commit() -> str:
    rev_parse = ["git", "rev-parse", "--short", "HEAD"]
    said = subprocess.run(rev_parse, check=False, capture_output=True, text=True, cwd=HERE)
    return said.stdout.strip() or "unknown"


def load() -> dict[str, Result]:
    """What earlier runs gave."""
    kept = json.loads(STORE.read_text()) if STORE.exists() else {}
    return {name: Result.of(values) for name, values in kept.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which benchmarks; without, those of the speed table")
    parser.add_argument("--out", default=str(PAGE), help="the page; - prints it")
    given = parser.parse_args()
    names = [name for word in given.names or TABLE for name in (FURTHER if word == "further" else (word,))]
    unknown = [name for name in names if not (HERE / f"bench_{name}.py").exists()]
    if unknown and given.names:
        parser.error(f"there is no bench_{unknown[0]}.py")
    names = [name for name in names if name not in unknown]  # the page says that they have not been run
    results = load()
    for name in names:
        found = run(name)
        # What fails gives no rows, and must not pass for what an earlier commit gave.
        results[name] = found
        print(f"run.py: {name}: {found.failed or f'{len(found.rows)} rows'}, {found.seconds:.0f} s", file=sys.stderr)
        if given.out != "-":  # after each: an hour of them is not lost with the last one
            STORE.write_text(json.dumps({key: asdict(value) for key, value in results.items()}, indent=1) + "\n")
            Path(given.out).write_text(page(results, HERE.glob("scaling*.png")))
    if given.out == "-":
        print(page(results, HERE.glob("scaling*.png")))
    return 1 if any(results[name].failed for name in names) else 0


if __name__ == "__main__":
    sys.exit(main())
