"""The kill loop, for as long as a test may take; ``make kill-test`` runs it for longer."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_whenever_the_process_is_killed_no_record_and_no_money_is_lost(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "tests.processes.kill_loop", tmp_path]

    done = subprocess.run(
        [*command, "--kills", "100"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = ast.literal_eval(done.stdout.split(": ", 1)[1])
    # Otherwise it has shown nothing.
    assert found["answered"] > 20
    assert found["crashed"] > 20
    # The budget was exhausted on the way.
    assert found["refused"] > 0
