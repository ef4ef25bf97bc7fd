"""What a campaign is: many trials of one promise, each of which holds or does not, and a count of both.

A campaign is a module `campaign_NAME.py` beside this file with TITLE, PROMISE (one sentence), and a function

    trials(scratch: Path, share: float) -> Iterator[Trial]

that works in the empty folder `scratch`; share 1.0 is the whole campaign, a small one the short cut that the default
tests take (seconds). The trials of a share are the same in each run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt. kind: what it is counted under. said: what was seen, needed where it did not hold."""

    name: str
    kind: str
    ok: bool
    said: str = ""
    facts: dict[str, Any] = field(default_factory=dict)  # figures that the report sums up


class Campaign(Protocol):
    """What each campaign's module has; `report` may add a table or figures, as Markdown, to the counts."""

    TITLE: str
    PROMISE: str

    def trials(self, scratch: Path, share: float) -> Iterator[Trial]:
        """Make the trials."""


def some(count: int, share: float) -> int:
    """How many of `count` trials a share is: at least one."""
    return max(1, round(count * share))
