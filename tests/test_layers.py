"""The import direction that docs/architecture.md draws, checked."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gandalf"
# Lowest first. A part imports from itself and from the lines above its own.
LAYERS = [
    ("domain",),
    ("config",),
    ("telemetry", "storage", "dialects"),
    ("providers",),
    ("pricing",),
    ("actors",),
    ("pipeline",),
    ("http",),
    ("core_dumps", "systemd", "reloading"),
    ("app",),
    ("cli",),
    ("__main__",),
]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path):
    """Yield every module that ``path`` imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            # `from gandalf import config` names a part only after `import`.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_parts(path):
    for module in imported_modules(path):
        package, _, rest = module.partition(".")
        part = rest.partition(".")[0]
        if package == "gandalf" and part in RANK:
            yield part


def named(path):
    return str(path.relative_to(PACKAGE))


def test_every_part_of_the_package_has_its_layer():
    parts = {part_of(path) for path in MODULES} - {"__init__"}

    assert parts <= set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_point_down(path):
    part = part_of(path)
    if part == "__init__":
        assert list(imported_parts(path)) == []
        return
    for imported in imported_parts(path):
        assert imported == part or RANK[imported] < RANK[part], (
            f"{part} may not import {imported}"
        )


@pytest.mark.parametrize(
    ("foreign", "places"),
    [
        ("sqlite3", {"storage"}),
        ("httpx", {"http"}),
        ("hypercorn", {"http"}),
        ("quart", {"http"}),
        ("quart_trio", {"http"}),
        ("httptools", {"http"}),
        ("opentelemetry", {"telemetry"}),
        ("prometheus_client", {"telemetry"}),
        ("yaml", {"config"}),
        ("asyncio", set()),
        ("threading", {"telemetry"}),  # the log, which must not wait for its reader
    ],
)
def test_a_library_is_known_only_where_it_belongs(foreign, places):
    users = {
        part_of(path)
        for path in MODULES
        for module in imported_modules(path)
        if module.partition(".")[0] == foreign
    }

    assert users <= places


@pytest.mark.parametrize("folder", sorted(PACKAGE.rglob("__init__.py")), ids=named)
def test_every_module_is_named_where_its_package_is_described(folder):
    described = ast.get_docstring(ast.parse(folder.read_text())) or ""
    words = set(re.findall(r"\w+", described))
    # credentials_* are several of a kind.
    kinds = tuple(word for word in words if word.endswith("_"))
    modules = {path.stem for path in folder.parent.glob("*.py")} - {"__init__"}

    if folder.parent != PACKAGE:
        assert {m for m in modules - words if not m.startswith(kinds)} == set()
