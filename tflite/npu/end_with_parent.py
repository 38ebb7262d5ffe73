"""A child process that ends with its parent.

As a program, `end_with_parent.py PROGRAM ARGUMENT...` runs another one so, in a Python without this project.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time


def end_with_parent() -> None:
    """From now on, ends this process within a second of its parent: after kill -9, in a run that hangs."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
