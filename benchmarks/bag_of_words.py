"""Accuracy of a bag of words on a text-classification folder: the score of a model blind to word order.

Fits TF-IDF of single words and a logistic regression on train.tsv; prints the accuracy on dev.tsv and, if it
exists, test.tsv. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

DEMO = Path(__file__).resolve().parent.parent / "sqb_tf" / "demo"


def read_tsv(path: Path) -> tuple[list[str], list[str]]:
    """Texts and labels of a ``text<TAB>label`` file with a header."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    texts, labels = zip(*(line.split("\t") for line in lines), strict=True)
    return list(texts), list(labels)


def score(folder: Path) -> dict[str, float]:
    """Fit on train.tsv and return the accuracy on dev.tsv and, if it exists, test.tsv."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0, max_iter=1000))
    model.fit(*read_tsv(folder / "train.tsv"))
    splits = [name for name in ("dev", "test") if (folder / f"{name}.tsv").is_file()]
    return {name: float(model.score(*read_tsv(folder / f"{name}.tsv"))) for name in splits}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DEMO, help="folder with the TSV files")
    parser.add_argument("--json", type=Path, help="also write the accuracies to this file")
    args = parser.parse_args()
    accuracy = score(args.data)
    for name, value in accuracy.items():
        print(f"bag of words, {name} accuracy: {value:.4f}")
    if args.json:
        args.json.write_text(json.dumps(accuracy, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
