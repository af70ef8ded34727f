"""What the tree promises beside its code: locks, commands, pages, the service's unit."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = [
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-build.txt",
    "catalogue/prices.txt",
    "catalogue/models.txt",
]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "bench").rglob("*.md"),
    ]
)
NEWS = sorted((ROOT / "docs" / "newsfragments").iterdir())
NEWS_TYPES = {kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"]}


def named(path):
    return str(path.relative_to(ROOT))


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(requirements):
    """Return the names in a list such as ``["trio>=0.31,<1"]``."""
    return {normalised(re.match(r"[\w.-]+", line)[0]) for line in requirements}


# The locks.


def locked(name):
    """Return the lock's entries, continued lines joined and comments gone."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def locked_names(name):
    return wanted(locked(name))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_one_version_and_its_hashes(lock):
    entries = locked(lock)

    assert entries
    for entry in entries:
        assert re.fullmatch(
            r"[a-z0-9.-]+==\S+( *; [^-]+)?( +--hash=sha256:[0-9a-f]{64})+", entry
        ), entry


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_and_no_place_on_one_machine(lock):
    # Comments included: they travel with the file as well.
    text = (ROOT / lock).read_text()

    assert not re.search(r"://|--(index|extra|find|trusted)|file:/|(^|\s)/", text, re.M)


def test_the_locks_hold_what_the_project_asks_for():
    runtime = wanted(PROJECT["project"]["dependencies"])
    development = wanted(PROJECT["project"]["optional-dependencies"]["dev"])

    assert runtime <= locked_names("requirements.txt")
    assert runtime | development <= locked_names("requirements-dev.txt")
    assert wanted(PROJECT["build-system"]["requires"]) <= locked_names(
        "requirements-build.txt"
    )


def test_development_and_running_use_the_same_versions():
    running, development = locked("requirements.txt"), locked("requirements-dev.txt")

    assert set(running) <= set(development)


# The dependencies.


def imported_distributions(folder):
    """Return the distributions that the code in ``folder`` imports."""
    roots = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                roots.add(node.module)
    distributions = packages_distributions()
    return {
        normalised(distribution)
        for root in {name.partition(".")[0] for name in roots} - OURS
        if root not in sys.stdlib_module_names
        for distribution in distributions[root]
    }


OURS = {"gandalf", "tests", "bench"}

# Namespaces that several distributions share: the import does not say which is meant.
SHARED = {
    "opentelemetry-api",
    "opentelemetry-proto",
    "opentelemetry-semantic-conventions",
    "opentelemetry-exporter-http-transport",
    "opentelemetry-exporter-otlp-common",
    "opentelemetry-exporter-otlp-proto-common",
    "google-genai",
    "googleapis-common-protos",
    "protobuf",
}


def test_the_package_imports_exactly_what_it_declares():
    declared = wanted(PROJECT["project"]["dependencies"])

    assert imported_distributions("gandalf") - SHARED == declared


@pytest.mark.parametrize("folder", ["tests", "bench", ".ci"])
def test_what_the_tools_import_is_locked(folder):
    assert imported_distributions(folder) <= locked_names("requirements-dev.txt")


# The commands.


def make_targets():
    """Return the targets that ``make help`` lists."""
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z-]+):.*## ", text, re.M))


@pytest.mark.parametrize("page", [*PAGES, ROOT / ".ci" / "run"], ids=named)
def test_every_make_command_that_a_page_gives_exists(page):
    # Only where it is code: at the start of a line, or right after a backtick.
    commands = set(re.findall(r"(?:^|`)make +([a-z]+)", page.read_text(), re.M))

    assert commands <= make_targets()


def test_the_two_commands_of_the_readme_are_make_run_and_make_test():
    text = (ROOT / "README.md").read_text()

    assert "\nmake run " in text
    assert "\nmake test " in text


def test_the_models_that_the_readme_asks_for_are_the_demos():
    demo = (ROOT / "configs" / "demo.yaml").read_text()
    asked = re.findall(r'"?model"?[:=] ?"([\w.-]+)"', (ROOT / "README.md").read_text())

    assert asked
    assert set(asked) <= set(re.findall(r"model_alias: (\S+)", demo))


def test_every_public_make_target_is_in_the_help():
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split())

    assert phony == make_targets()


# What is compiled.


def compiled_modules():
    text = (ROOT / "setup.py").read_text()
    names = re.search(r'COMPILED = """(.*?)"""', text, re.S)[1].split()
    return [ROOT / "gandalf" / f"{name}.py" for name in names]


@pytest.mark.parametrize("path", compiled_modules(), ids=named)
def test_no_compiled_module_calls_what_acts_in_a_slice(path):
    # mypyc evaluates the bounds of a slice twice.
    calls = {
        ast.unparse(call.func).rpartition(".")[2]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Slice)
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
    }

    assert calls <= {"len", "start", "end"}


# The pages.


def headings(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ +(.*)$", text, re.M)
    }


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in headings(target), link


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_a_page_names_exist(page):
    named_files = re.findall(
        r"`((?:gandalf|tests|docs|configs|deploy|bench)/[\w./-]*\w/?)`",
        page.read_text(),
    )

    missing = [name for name in named_files if not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_page_has_the_marks_of_a_conflict(page):
    assert not re.search(r"^(<{7} |>{7} )", page.read_text(), re.M)


@pytest.mark.parametrize("path", NEWS, ids=named)
def test_news_is_named_as_towncrier_wants_it_and_says_something(path):
    if path.name == "README.md":
        return
    name = re.fullmatch(r"\d+(-[a-z0-9-]+)?\.([a-z]+)\.md", path.name)

    assert name, path.name
    assert name[2] in NEWS_TYPES
    assert path.read_text().strip().endswith((".", ")"))


# The service.


@pytest.fixture
def unit(tmp_path):
    """The unit as it would be installed here: its program is one that exists."""
    text = (ROOT / "deploy" / "gandalf.service").read_text()
    unit = tmp_path / "gandalf.service"
    unit.write_text(text.replace("/opt/gandalf/bin/gandalf", sys.executable))
    return unit


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*args):
    return subprocess.run(
        ["systemd-analyze", *args], capture_output=True, text=True, timeout=60
    )


@needs_systemd
def test_systemd_accepts_the_unit_without_a_word(unit):
    found = analyze("verify", "--man=no", str(unit))

    assert (found.returncode, found.stderr) == (0, "")


@needs_systemd
def test_the_unit_exposes_little(unit):
    # 0 is nothing and 10 everything; the network itself is what remains.
    found = analyze("security", "--offline=true", "--threshold=15", str(unit))

    assert found.returncode == 0, found.stdout[-200:]


def test_systemd_waits_longer_than_the_gateway_drains():
    from gandalf.config import Server

    unit = (ROOT / "deploy" / "gandalf.service").read_text()
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1])

    assert stop >= 2 * Server().shutdown_timeout
