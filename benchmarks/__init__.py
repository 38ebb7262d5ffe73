"""Scripts that measure this project beside other software; not part of the library."""

import os

# As the tools set it, before TensorFlow is imported: see `sqb_tools.entry`.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
