"""Writes completions/ and man/ from the program itself: `python -m vgeo.shelldocs`. A test compares them.

Typer carries its own copy of Click, for which no man-page generator exists; the completion scripts come from
Typer's own protocol.
"""

import re
import sys
from pathlib import Path
from typing import Any

import typer
from typer.completion import get_completion_script

from vgeo import __version__
from vgeo.cli import COMMANDS, app

RELEASE_DATE = "2026-11-20"
SHELLS = {"bash": "vgeo.bash", "zsh": "_vgeo", "fish": "vgeo.fish"}
_LINE_BYTES = 72  # mandoc asks for 80 at most, and counts a letter with an accent as many
# Found in $fpath, the file is loaded at the first Tab as the function _vgeo: that has to complete too.
_ZSH_FIRST = """
if [[ $funcstack[1] == _vgeo ]]; then
  _vgeo_completion
fi
"""
EXIT_CODES = {
    0: "all done",
    2: "usage: the command's words do not fit",
    3: "finished, but some inputs failed",
    65: "an input's content is bad",
    66: "no such input",
    69: "a model, package or codec is missing",
    70: "internal error",
    73: "an output cannot be created",
    74: "input or output failed, for example a full disk",
    75: "busy: another process works on the same output",
    78: "a setting is wrong",
    130: "interrupted",
    141: "the reader of a pipe has gone",
}


def completions() -> dict[str, str]:
    """File name -> text of each shell's completion script."""
    texts = {}
    for shell, name in SHELLS.items():
        script = get_completion_script(prog_name="vgeo", complete_var="_VGEO_COMPLETE", shell=shell)
        texts[name] = script.strip() + "\n"
    texts[SHELLS["zsh"]] += _ZSH_FIRST
    return texts


def man_pages() -> dict[str, str]:
    """File name -> text of vgeo.1 and one page a subcommand, in man(7) macros."""
    group: Any = typer.main.get_command(app)
    pages = {"vgeo.1": _page("vgeo", group, "vgeo demo")}
    for names in COMMANDS.values():
        for name in names:
            command = group.commands[name]
            pages[f"vgeo-{name}.1"] = _page(f"vgeo-{name}", command, command.epilog.removeprefix("Example: "))
    return pages


def _page(title: str, command: Any, example: str) -> str:
    paragraphs = command.help.split("\n\n")
    lines = [
        f'.TH {title.upper()} 1 "{RELEASE_DATE}" "vgeo {__version__}" "vgeo manual"',
        ".SH NAME",
        _fill(f"{_escape(title)} \\- {_escape(_decapitalise(paragraphs[0].rstrip('.')))}"),
        ".SH SYNOPSIS",
        _synopsis(title.replace("-", " ", 1), command),
        ".SH DESCRIPTION",
        "\n.PP\n".join(_fill(_escape(paragraph)) for paragraph in paragraphs),
    ]
    subcommands = getattr(command, "commands", {})
    for panel, names in COMMANDS.items() if subcommands else ():
        lines += [f".SH {panel.upper()} COMMANDS"]
        for name in names:
            lines += [".TP", f".BR vgeo\\-{_escape(name)} (1)", _fill(_escape(subcommands[name].help.split("\n\n")[0]))]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    if arguments:
        lines += [".SH ARGUMENTS", *(line for p in arguments for line in _entry(f"\\fI{_escape(_argument(p))}\\fR", p))]
    lines += [".SH OPTIONS"]
    for parameter in command.params:
        if parameter.param_type_name == "option":
            lines += _entry(_option_head(parameter), parameter)
    lines += [".TP", ".BR \\-h , \\-\\-help", "Show help and leave."]
    lines += [".SH EXAMPLES", ".EX", _escape(example), ".EE", ".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES.items():
        lines += [".TP", f".B {code}", _escape(meaning.capitalize() + ".")]
    others = [name for names in COMMANDS.values() for name in names] if subcommands else []
    lines += [".SH SEE ALSO", *([f".BR vgeo\\-{_escape(n)} (1)," for n in others[:-1]] if others else [".BR vgeo (1)"])]
    if others:
        lines += [f".BR vgeo\\-{_escape(others[-1])} (1)"]
    return "\n".join(lines) + "\n"


def _synopsis(typed: str, command: Any) -> str:
    words = [f".B {_escape(typed)}", "[\\fIOPTIONS\\fR]"]
    if getattr(command, "commands", {}):
        words.append("\\fICOMMAND\\fR [\\fIARGS\\fR]...")
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            word = f"\\fI{_escape(_argument(parameter))}\\fR"
            word = word if parameter.required else f"[{word}]"
            words.append(word + ("..." if parameter.nargs == -1 else ""))
    return "\n".join(words)


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name).upper().strip("[]")


def _option_head(parameter: Any) -> str:
    names = ", ".join(f"\\fB{_escape(name)}\\fR" for name in sorted(parameter.opts, key=len))
    if parameter.is_flag or parameter.count:
        return names
    return f"{names} \\fI{_escape(parameter.metavar or parameter.type.name.upper())}\\fR"


def _entry(head: str, parameter: Any) -> list[str]:
    text = re.sub(r"\s+", " ", parameter.help or "")
    default = parameter.default
    if default not in (None, False, 0, "", ()) and not callable(default) and getattr(parameter, "show_default", True):
        text += f" Default: {default}."
    return [".TP", head, _fill(_escape(text))]


def _decapitalise(text: str) -> str:
    return text[:1].lower() + text[1:]


def _escape(text: str) -> str:
    """Text for roff: backslashes, hyphens that are typed, and a leading dot or quote."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + safe if safe[:1] in ".'" else safe


def _fill(text: str) -> str:
    """Break escaped text into lines of a page's width, none of which begins like a request."""
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(f"{line} {word}".encode()) > _LINE_BYTES:
            lines.append(line)
            line = "\\&" + word if word[:1] in ".'" else word
        else:
            line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])


def main(root: Path) -> None:
    """Write both folders under `root`, and remove pages of commands that are gone."""
    for folder, texts in (("completions", completions()), ("man", man_pages())):
        target = root / folder
        target.mkdir(exist_ok=True)
        for stale in set(target.iterdir()) - {target / name for name in texts}:
            stale.unlink()
        for name, text in texts.items():
            (target / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd())
