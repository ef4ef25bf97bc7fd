"""Run the campaigns, and write what came of them into RESULTS.md.

    python tests/campaigns/run.py                       # all of them, whole
    python tests/campaigns/run.py damaged kills         # only these; the others' part of the page stays as it was
    python tests/campaigns/run.py --share 0.05 --out -  # a short cut, printed

Ends with 1 where a trial did not hold. What was tried goes to campaigns.jsonl beside the page's folder of scratch.
"""

import argparse
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from trials import Campaign, Trial  # noqa: E402

PAGE = HERE / "RESULTS.md"
HEAD = """# What was tried to break it

Made by `python tests/campaigns/run.py`; each part by `python tests/campaigns/run.py NAME`. A trial holds or does not;
what a trial is, and what it asks for, is said at the head of `campaign_NAME.py`.
"""


def names() -> list[str]:
    """The campaigns there are, in the order of their files."""
    return sorted(path.stem.removeprefix("campaign_") for path in HERE.glob("campaign_*.py"))


def load(name: str) -> Campaign:
    """Import one."""
    return importlib.import_module(f"campaign_{name}")  # type: ignore[return-value]


def run(name: str, share: float, log: Path) -> tuple[list[Trial], float]:
    """Make a campaign's trials in a folder of its own, and say what failed as it does."""
    start, made = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix=f"vgeo-{name}-") as scratch, log.open("a", encoding="utf-8") as file:
        for trial in load(name).trials(Path(scratch), share):
            made.append(trial)
            file.write(json.dumps({"campaign": name, **asdict(trial)}) + "\n")
            if not trial.ok:
                print(f"{name}: {trial.kind}: {trial.name}: {trial.said}", file=sys.stderr, flush=True)
    return made, time.monotonic() - start


def part(name: str, trials: list[Trial], seconds: float, share: float = 1.0) -> str:
    """A campaign's part of the page."""
    campaign = load(name)
    held, all_ = Counter(trial.kind for trial in trials if trial.ok), Counter(trial.kind for trial in trials)
    lines = [f"## {campaign.TITLE}: `{name}`", "", campaign.PROMISE, "", "| | trials | held |", "|---|---|---|"]
    lines += [f"| {kind} | {count} | {held[kind]} |" for kind, count in all_.items()]
    lines += [f"| **all** | **{len(trials)}** | **{sum(held.values())}** |", ""]
    failed = [trial for trial in trials if not trial.ok]
    lines += [f"* did not hold: {trial.kind}, {trial.name}: {trial.said}" for trial in failed] + [""] * bool(failed)
    summarize = getattr(campaign, "report", None)
    if summarize is not None:
        lines += [summarize(trials).strip(), ""]
    whole = "" if share >= 1 else f"A share of {share:g}, not the whole campaign. "
    lines.append(f"{whole}{seconds:.0f} s, {_machine()}.")
    return "\n".join(lines) + "\n"


def merge(page: str, parts: dict[str, str]) -> str:
    """The page with some of its parts replaced, in the order of names."""
    found = {match[1]: match[0] for match in re.finditer(r"^## [^\n]*: `(\w+)`\n.*?(?=^## |\Z)", page, re.M | re.S)}
    found.update(parts)
    return HEAD + "".join("\n" + found[name].strip() + "\n" for name in sorted(found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which campaigns; all without")
    parser.add_argument("--share", type=float, default=1.0, help="how much of each")
    parser.add_argument("--out", default=str(PAGE), help="the page; - prints it")
    parser.add_argument("--log", type=Path, default=Path(tempfile.gettempdir()) / "vgeo-campaigns.jsonl")
    chosen = parser.parse_args()
    failed = 0
    for name in chosen.names or names():
        trials, seconds = run(name, chosen.share, chosen.log)
        failed += sum(not trial.ok for trial in trials)
        text = part(name, trials, seconds, chosen.share)
        if chosen.out == "-":
            print(text)
        else:  # after each campaign: hours of them are not lost with the last one
            page = Path(chosen.out)
            page.write_text(merge(page.read_text() if page.exists() else "", {name: text}))
    return 1 if failed else 0


def _machine() -> str:
    rev_parse = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(rev_parse, check=False, capture_output=True, text=True, cwd=HERE)
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, " + (
        f"commit {commit.stdout.strip()}" if commit.returncode == 0 else "no commit"
    )


if __name__ == "__main__":
    sys.exit(main())
