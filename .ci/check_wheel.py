"""Builds the wheel twice and refuses what should not be in it.

A wheel that holds a ``.pth`` file runs code whenever Python starts, and a file that is
not in git was reviewed by nobody. Two builds of the same commit give the same bytes, so
that anybody can check a published wheel against its source.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def git(*args: str) -> str:
    return subprocess.run(
        ["git", *args], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def build(into: Path, commit_time: str) -> Path:
    """Build the wheel of the committed tree, so that strays on disk stay out."""
    source = into / "source"
    source.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x"], input=archive, cwd=source, check=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--quiet"]
        + ["--outdir", str(into), str(source)],
        check=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": commit_time},
    )
    [wheel] = into.glob("*.whl")
    return wheel


def faults(wheel: Path, declared: set[str]) -> list[str]:
    """Return what is wrong with the wheel's contents."""
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {name for name in names if ".dist-info/" not in name}
    return [
        *(f"runs at every start of Python: {n}" for n in names if n.endswith(".pth")),
        *(f"not in git: {n}" for n in sorted(package - declared)),
        *(f"missing: {n}" for n in sorted(declared - package)),
    ]


def main() -> int:
    declared = set(git("ls-tree", "-r", "--name-only", "HEAD", "gandalf/").split())
    commit_time = git("log", "-1", "--format=%ct").strip()
    with tempfile.TemporaryDirectory() as folder:
        wheels = [build(Path(folder, turn), commit_time) for turn in ("1", "2")]
        found = faults(wheels[0], declared)
        digests = {hashlib.sha256(w.read_bytes()).hexdigest() for w in wheels}
        if len(digests) != 1:
            found.append("two builds of the same commit differ")
        for fault in found:
            print(f"{wheels[0].name}: {fault}", file=sys.stderr)
        if not found:
            print(f"{wheels[0].name}: {len(declared)} files, sha256 {digests.pop()}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
