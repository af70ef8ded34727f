"""Keeps the keys and secrets in the memory of the process out of core dumps."""

from __future__ import annotations

import ctypes
import resource

# <linux/prctl.h>
_PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> None:
    """Forbid core dumps of this process and of those that it starts.

    The limit alone does not stop a dump that the kernel pipes to a program, as
    systemd-coredump has it (core(5)); a process that is not dumpable has none at all,
    and no other user's process may trace it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
