"""Programs of this machine that end with this process, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence

# The guard is a second shell of the program's group. It waits for a pipe whose other end this process holds
# and never writes to. The pipe closes when this process ends, after kill -9 too: the guard kills the group.
# Linux' PR_SET_PDEATHSIG would kill the shell alone, not what the shell runs, and macOS has none.
_GUARD = """exec 3<&0 </dev/null
(read -r line <&3; kill -s KILL -- -$$) >/dev/null 2>&1 &
guard=$!
"$@" 3<&-
code=$?
{ kill $guard; wait $guard; } 2>/dev/null
exit $code"""


@contextlib.contextmanager
def guarded_process(arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A program whose merged output comes through a pipe; killed with its children on leaving.

    It has a session of its own: Ctrl-C does not reach it. The exit code is a shell's: 127 where there is no
    such program, 128 and the signal of one that was killed.
    """
    guarded, held = os.pipe()
    try:
        process = subprocess.Popen(
            ["sh", "-c", _GUARD, "sh", *arguments],
            stdin=guarded,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with its children, which hold our pipe
                process.communicate()
    finally:
        os.close(guarded)
        os.close(held)
