"""Every command in the surroundings that users have: terminals, pipes, interruptions, read-only cards, bare shells.

The commands come from vgeo.cli.COMMANDS, what is typed for each from commandlines.py. A trial is one command in one
situation; what each situation asks for is said in its function in manners.py, elsewhere.py, shells.py and pages.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import commandlines
import elsewhere
import manners
import pages
import shells
from trials import Trial, some

from vgeo.cli import COMMANDS

TITLE = "Manners"
PROMISE = "Each command keeps stdout to data, ends with the right code and one line, and leaves nothing half done."

_SHORT = 0.1  # up to this share, only what needs no clips and models made


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """Pages and shells, which ask the program only what it says of itself; then each command in each situation."""
    scratch.chmod(0o755)
    commands = [name for names in COMMANDS.values() for name in names]
    yield from _all(commands)
    told = [*pages.TRIALS(commands, scratch), *shells.TRIALS(commands, scratch)]
    yield from (_trial(*one) for one in _spread(told, share))
    with commandlines.workshop(scratch) as shop:
        tried = [
            (name, situation.__doc__.rstrip("."), lambda name=name, situation=situation: situation(shop, name))
            for situation in (*manners.SITUATIONS, *elsewhere.SITUATIONS)
            for name in commandlines.TYPED
            if commandlines.command(name) in commands and (share > _SHORT or not commandlines.TYPED[name].world)
        ]
        yield from (_trial(*one) for one in _spread(tried, share))


def _all(commands: list[str]) -> Iterator[Trial]:
    typed = {commandlines.command(name) for name in commandlines.TYPED}
    for name in commands:
        yield Trial(name, "has a command line here", name in typed, "add one to commandlines.TYPED")


def _spread(all_: list, share: float) -> list:
    """As many as the share asks for, from everywhere."""
    step = len(all_) / some(len(all_), share)
    return [all_[int((i + 0.5) * step)] for i in range(some(len(all_), share))]


def _trial(name: str, kind: str, attempt: Callable[[], list[str]]) -> Trial:
    try:
        wrong = attempt()
    except Exception as error:
        wrong = [f"{type(error).__name__}: {error}"]
    return Trial(name, kind, not wrong, "; ".join(wrong[:3])[:600])
