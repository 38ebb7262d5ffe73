"""Answers a question from a list of frequent ones: which of them is nearest in meaning?

    python examples/faq_search.py embedder.tflite "will it wake me when the power fails"

The embedder is a package, as `sqb convert --model squeezebert-micro --quantize int8` makes one. With
`--faq FILE` the list is another table of questions and answers, separated by a tab.
"""

import argparse
import sys
from pathlib import Path

from sqb_tf import InputError
from sqb_tflite import Runner, nearest

FAQ = Path(__file__).with_name("faq.tsv")
SHOWN = 3


def read_faq(path: Path) -> tuple[list[str], list[str]]:
    """Questions and answers of a table with a header."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return [question for question, _ in rows], [answer for _, answer in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", help="a packaged .tflite of an embedder")
    parser.add_argument("question")
    parser.add_argument(
        "--faq", type=Path, default=FAQ, help="questions and answers (default: %(default)s)"
    )
    args = parser.parse_args()

    try:
        embedder = Runner(args.package)
    except InputError as error:
        sys.exit(f"error: {error}")
    questions, answers = read_faq(args.faq)
    # An app embeds its questions once and ships the vectors.
    vectors = embedder.embed(questions)
    indices, cosines = nearest(vectors, embedder.embed([args.question]), SHOWN)
    for index, cosine in zip(indices[0], cosines[0]):
        print(f"{cosine:.2f}  {questions[index]}\n      {answers[index]}")


if __name__ == "__main__":
    main()
