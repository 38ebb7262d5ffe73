"""Embeds texts with the real MediaPipe TextEmbedder, in MediaPipe's own environment.

    .venv-mediapipe/bin/python tests/peers/mediapipe/embed.py PACKAGE texts.txt vectors.npy

One text per line in; an array `[texts, hidden]` out. Imports nothing of this project.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main() -> None:
    """Runs the command; see the module's docstring."""
    from mediapipe.tasks.python.text import TextEmbedder

    package, texts, vectors = sys.argv[1:]
    embedder = TextEmbedder.create_from_model_path(package)
    lines = Path(texts).read_text(encoding="utf-8").splitlines()
    np.save(vectors, np.stack([embedder.embed(line).embeddings[0].embedding for line in lines]))
    embedder.close()


if __name__ == "__main__":
    main()
