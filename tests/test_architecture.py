"""The order of the rooms, read from the imports themselves."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "segmentation"
# Each room imports only itself and rooms before it. What belongs to no room may be imported by all.
ROOMS = (
    "data targets network bundle prediction large batch evaluation results training exploration export napari_plugin"
).split()
SHARED = {"atomic", "command_line", "freed_memory", "paths", "progress", "silence"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> set[str]:
    """Dotted names of the modules of this package that a file imports, wherever in the file it does so."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("segmentation.")}


def module_files(name: str) -> set[Path]:
    """The file of a module, or of the module that a name is in."""
    parts = name.split(".")[1:]
    candidates = [PACKAGE.joinpath(*parts[:length]).with_suffix(".py") for length in (len(parts), len(parts) - 1)]
    return {candidate for candidate in candidates if len(candidate.parts) > len(PACKAGE.parts) and candidate.exists()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_a_room_imports_only_rooms_before_it(file):
    room = room_of(file)
    if room == "__init__":
        return
    allowed = SHARED | {"__version__"} | (set() if room in SHARED else set(ROOMS[: ROOMS.index(room) + 1]))
    assert {name.split(".")[1] for name in imports_of(file)} <= allowed


def test_no_modules_import_each_other_in_a_circle():
    remaining = {file: set().union(*map(module_files, imports_of(file))) - {file} for file in FILES}
    while True:
        free = {file for file, needs in remaining.items() if not needs & remaining.keys()}
        if not free:
            break
        for file in free:
            del remaining[file]
    assert not remaining


def test_files_are_short():
    assert {file.name: lines for file in FILES if (lines := len(file.read_text().splitlines())) > 300} == {}
