"""What came of joining files."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Merged:
    """What was joined."""

    files: int
    pieces: int  # clips, or inputs of reports
    twice: int  # of them, that were in two files and are the same
