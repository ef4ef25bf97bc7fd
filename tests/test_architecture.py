"""The floors of the package: an import never points up."""

import ast
from collections import Counter
from pathlib import Path

import vgeo

ROOT = Path(vgeo.__file__).parent

FLOORS = [
    {"errors", "logs", "device", "geo", "layers"},
    {"records", "encoders", "search"},
    {"formats", "video", "metrics", "methods", "reports"},
    {"datasets"},
    {"training"},
    {"stages"},
    {"world"},
    {"commands"},
    {"cli"},
    {"shelldocs", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}


def floor_of(module: str) -> str:
    """`vgeo.formats.gpx` -> `formats`; the package itself (version, lazy names) belongs to no floor."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> set[str]:
    """Modules of vgeo that a file imports when it runs; imports for type checkers alone do not count."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("vgeo"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vgeo":
            module = node.module or ""
            found.update(f"{module}.{alias.name}" if module == "vgeo" else module for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def violations(files: dict[str, set[str]]) -> list[str]:
    """`module -> imported module` pairs that point up."""
    bad = []
    for module, imported in sorted(files.items()):
        here = floor_of(module)
        for other in sorted(imported):
            there = floor_of(other)
            if there in LEVEL and here in LEVEL and LEVEL[there] > LEVEL[here]:
                bad.append(f"{module} -> {other}")
    return bad


def modules() -> dict[str, set[str]]:
    return {
        "vgeo." + ".".join(path.relative_to(ROOT).with_suffix("").parts): imports(path)
        for path in ROOT.rglob("*.py")
        if path.name != "__init__.py" or path.parent != ROOT
    }


def test_no_import_points_up() -> None:
    assert violations(modules()) == []


def test_every_module_has_a_floor() -> None:
    assert {floor_of(module) for module in modules()} - set(LEVEL) - {"__init__"} == set()


def test_an_upward_import_is_seen() -> None:
    assert violations({"vgeo.formats.gpx": {"vgeo.stages.localize"}}) == ["vgeo.formats.gpx -> vgeo.stages.localize"]


def test_a_method_reads_no_file_and_prints_nothing() -> None:
    """A method never opens files, prints, or reads the environment: the stages do."""
    for path in (ROOT / "methods").glob("[!_]*.py"):
        if path.stem in ("base", "settings"):
            continue
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"open", "print"}, path
        assert "cuda" not in path.read_text(), path


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by their names alone: of two, it would collect none."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
