"""What a tool shows of the log: the project's own messages, as plain lines on standard error."""

from __future__ import annotations

import logging
import sys

from absl import logging as absl_logging

from sqb_tf import progress
from sqb_tf.terminal import show


class PlainHandler(logging.Handler):
    """Writes messages without absl's prefix of level, time and file; our warnings are marked as such.

    Messages of other packages below ERROR are left out unless `everything` is set.
    """

    everything = False

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.pathname == progress.__file__
        if ours or self.everything or record.levelno >= logging.ERROR:
            mark = "warning: " if ours and record.levelno == logging.WARNING else ""
            show(f"{mark}{self.format(record)}", sys.stderr, flush=True)


_HANDLER = PlainHandler()


def start(verbose: bool = False, quiet: bool = False) -> None:
    """Shows messages from INFO on; with `quiet` errors alone, with `verbose` every package's."""
    _HANDLER.everything = verbose
    if _HANDLER not in logging.root.handlers:
        logging.root.addHandler(_HANDLER)
    absl_logging.set_verbosity(absl_logging.ERROR if quiet else absl_logging.INFO)
