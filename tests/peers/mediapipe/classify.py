"""Classifies texts with the real MediaPipe TextClassifier, in MediaPipe's own environment.

    .venv-mediapipe/bin/python tests/peers/mediapipe/classify.py \
        --package FILE --input texts.txt --json OUT

Imports nothing of this project, which that environment does not have.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the flags; exits with 2 on wrong ones, as argparse does."""
    parser = argparse.ArgumentParser(description="Classify texts with MediaPipe Tasks.")
    parser.add_argument("--package", type=Path, required=True, help="a .tflite with metadata")
    parser.add_argument("--input", type=Path, required=True, help="UTF-8 texts, one per line")
    parser.add_argument("--json", type=Path, required=True, help="where the result goes")
    parser.add_argument(
        "--delimiter",
        default="\\n",
        help=r"what ends a text, escapes allowed, for texts with line feeds: '\0' (default '\n')",
    )
    return parser.parse_args(arguments)


def split_texts(content: str, delimiter: str) -> list[str]:
    """Splits at the delimiter. One at the very end ends the last text and does not start another.

    Empty texts are kept, so that result i is that of text i.
    """
    if not content:
        return []
    return content.removesuffix(delimiter).split(delimiter)


def classify(package: Path, texts: list[str]) -> dict[str, Any]:
    """Runs each text through a TextClassifier.

    Returns:
        `{"load_ms", "median_ms", "results": [{"label", "score", "scores": {label: score}}]}`, times
        in milliseconds, median over the texts, one result per text in order. If every score is below
        the package's threshold, label and score are None. If MediaPipe fails at a text, its result is
        `{"error": message}`, the last one.

    Raises:
        ValueError, RuntimeError: MediaPipe does not accept the package.
    """
    from mediapipe.tasks.python.text import TextClassifier

    start = time.perf_counter()
    classifier = TextClassifier.create_from_model_path(str(package))
    load = time.perf_counter() - start
    results, seconds = [], []
    for text in texts:
        start = time.perf_counter()
        try:
            categories = classifier.classify(text).classifications[0].categories
        except (ValueError, RuntimeError) as error:
            # Its graph has stopped for good, and continuing with a new one has been seen to hang.
            results.append({"error": str(error)})
            break
        seconds.append(time.perf_counter() - start)
        results.append(_result(categories))
    _close(classifier)
    median = 1e3 * statistics.median(seconds) if seconds else None
    return {"load_ms": 1e3 * load, "median_ms": median, "results": results}


def _close(classifier: Any) -> None:
    """Closes the classifier; a stopped graph raises its error again, which is in the results already."""
    with contextlib.suppress(ValueError, RuntimeError):
        classifier.close()


def _result(categories: list[Any]) -> dict[str, Any]:
    """Best first, as MediaPipe sorts; without labels a category is named by its index."""
    scores = {item.category_name or str(item.index): item.score for item in categories}
    label = next(iter(scores), None)
    return {"label": label, "score": scores.get(label), "scores": scores}


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if all texts have a result, 1 if MediaPipe failed at one, 2 for bad input."""
    args = parse_args(arguments)
    for path in (args.package, args.input):
        if not path.is_file():
            print(f"{path}: no such file", file=sys.stderr)
            return 2
    delimiter = args.delimiter.encode().decode("unicode_escape")
    # Bytes, because text mode would turn a text's own carriage returns into line feeds.
    texts = split_texts(args.input.read_bytes().decode("utf-8"), delimiter)
    try:
        report = classify(args.package, texts)
    except (ValueError, RuntimeError) as error:
        print(f"{args.package}: MediaPipe cannot open it: {error}", file=sys.stderr)
        return 2
    for text, result in zip(texts, report["results"]):
        if "error" not in result:
            print(f"{result['label']}\t{result['score']}\t{text}")
    args.json.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return int(any("error" in result for result in report["results"]))


if __name__ == "__main__":
    sys.exit(main())
