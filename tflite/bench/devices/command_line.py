"""Command lines for POSIX shells, of this machine and of devices."""

from __future__ import annotations

import shlex


def command_line(script: str, *arguments: str) -> str:
    """A script after its arguments, which it finds in `$1`, `$2` and so on, and all in `"$@"`.

    Arguments are quoted here and nowhere else, so that a shell reads each as one word, whatever a package, a
    folder or a device is called. The script itself is a constant (tests/flow/test_harness_security.py).
    """
    return f"set -- {shlex.join(arguments)}\n{script}"
