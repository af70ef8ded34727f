"""A process with secrets leaves no core dump."""

import subprocess
import sys

SCRIPT = """
import ctypes, resource
from gandalf.core_dumps import forbid_core_dumps
forbid_core_dumps()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0])
"""


def test_the_process_is_not_dumpable():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["0", "0"]
