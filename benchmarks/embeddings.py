"""What recipes cost an embedder: file size, and how well similarities still rank pairs of sentences.

Pairs are MRPC's dev split in three grades: paraphrases (2), pairs of the same news that are none (1), and
sentences of different pairs (0). Each recipe's package is compared with Keras by the rank correlation
(Spearman) of the cosines, and with the grades.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.random_bundle import SHARED_DATA

RECIPES = ("float32", "fp16", "int8", "int4", "int4-all")
MRPC = SHARED_DATA / "glue" / "MRPC"


def graded_pairs(limit: int | None) -> tuple[list[tuple[str, str]], np.ndarray, list[str]]:
    """Pairs, their grades, and training sentences for calibration."""
    from sqb_tf.data.task import Task

    task = Task("mrpc", MRPC, limit=limit)
    examples = list(task.split("dev"))
    pairs = [(example.text, example.pair) for example in examples]
    grades = [1 + int(str(example.label) == "1") for example in examples]
    shifted = [example.pair for example in examples[1:] + examples[:1]]
    pairs += [(example.text, other) for example, other in zip(examples, shifted, strict=True)]
    grades += [0] * len(examples)
    calibration = [example.text for _, example in zip(range(64), task.split("train"), strict=False)]
    return pairs, np.array(grades), calibration


def cosines(vectors: np.ndarray) -> np.ndarray:
    """The cosine of each of n pairs, from `[2 n, hidden]`."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.split(vectors, 2)
    return (first * second).sum(axis=1)


def measure(model: Any, limit: int | None) -> list[dict[str, Any]]:
    """A row for Keras and for each recipe."""
    from scipy.stats import spearmanr

    from sqb_tf.progress import log
    from sqb_tflite import Runner, convert
    from sqb_tflite.verification.bundle_backend import BundleBackend

    pairs, grades, calibration = graded_pairs(limit)
    texts = [text for side in zip(*pairs, strict=True) for text in side]
    backend = BundleBackend(model)
    requests = backend.requests([(text, None) for text in texts])
    keras_vectors = np.stack([outputs["embedding"] for outputs in backend.run(requests)])
    expected = cosines(keras_vectors)
    rows = [{"recipe": "Keras", "grades": spearmanr(expected, grades).statistic}]
    for recipe in RECIPES:
        log(f"converting to {recipe}")
        package = convert(model, recipe, calibration=calibration)
        vectors = np.stack(Runner(package, num_threads=2).embed(texts))
        actual = cosines(vectors)
        unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, keras_vectors)]
        rows.append(
            {
                "recipe": recipe,
                "mb": len(package) / 1e6,
                "grades": spearmanr(actual, grades).statistic,
                "keras": spearmanr(actual, expected).statistic,
                "cosine": float((unit[0] * unit[1]).sum(axis=1).min()),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    titles = ["recipe", "MB", "Spearman with the grades", "with Keras' cosines", "smallest cosine"]
    formats = {"recipe": "", "mb": ".1f", "grades": ".4f", "keras": ".4f", "cosine": ".4f"}
    cells = [
        [format(row[name], digits) if name in row else "" for name, digits in formats.items()]
        for row in rows
    ]
    return output.markdown_table([titles, *cells])


def main() -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a bundle or a folder of an embedder")
    parser.add_argument("--limit", type=int, help="pairs of each grade; default: all of them")
    output.add_flags(parser)
    args = parser.parse_args()
    import sqb_tf

    rows = measure(sqb_tf.load(args.model), args.limit)
    output.publish(args, "embeddings", rows, table(rows))


if __name__ == "__main__":
    main()
