"""From a command line to an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from gandalf.cli.gateway import guarded
from gandalf.cli.output import FAILED, INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` and return the exit code."""
    from gandalf.cli.parser import parse

    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        status = guarded(args.run, args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output (``| head``) has closed it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status
