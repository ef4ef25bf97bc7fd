"""Rows of the speed table: each benchmark says what it compared, and whether that reaches its goal.

A benchmark is a script that prints what it measures for people; with `--json FILE` it writes its rows as well, which
`run.py` gathers into RESULTS.md.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison, in one run. value: a ratio of vgeo to `against`, or what `unit` says; goal: as in ">= 20"."""

    step: str  # as "decode, 1 frame a second"
    against: str  # as "torchcodec 0.17, CPU time"
    value: float
    goal: str = ""  # no goal: a figure to know
    unit: str = "×"
    figures: str = ""  # both sides as measured, as "0.34 s, 0.43 s"
    note: str = ""  # why a goal is missed, or what is special

    @property
    def reached(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return {"<=": self.value <= float(bound), ">=": self.value >= float(bound), "=": self.value == float(bound)}[
            sign
        ]


def write_rows(path: Path | None, rows: Iterable[Row]) -> None:
    """Write rows as JSON where a file is asked for."""
    if path is not None:
        path.write_text(json.dumps([asdict(row) for row in rows]))
