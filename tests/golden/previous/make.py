"""Wrote the files of this folder, at commit ff36b52 (see README.md)."""

import json
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from helpers import VOCABULARY, random_texts, randomize, save_bundle, tiny_config
from tflite.describe import describe
from tflite.predictor import named_outputs
from tflite.runner import Runner
from tflite.verify import verify

import sqb_tf
import tflite
from sqb_tf import heads
from sqb_tf.checkpoint import bundle
from sqb_tf.tasks.delimited import Example

TEXTS = random_texts(8, seed=3)
RECIPES = {"classification": "int8", "span": "int8"}
SMALL = {"hidden_size": 16, "intermediate_size": 32}


def span_bundle(folder):
    """Question answering over windows: short inputs, a stride, an answer that may be empty."""
    model = heads.build("span", tiny_config(**SMALL))
    randomize(model)
    settings = {"doc_stride": 8, "null_threshold": 0.0}
    task = bundle.TaskInfo("squad2", "span", True, 24, True, {}, "", "", settings)

    def examples(count, seed):
        contexts = random_texts(count, seed, longest=30)
        questions = random_texts(count, seed + 1, longest=4)
        return [
            Example(question, context, json.dumps([[0, context.split()[0]]]))
            for question, context in zip(questions, contexts)
        ]

    bundle.save(
        folder, model, VOCABULARY, [], task, examples(12, 1), examples(24, 3), {"metric": {}}
    )


def results(runner, rows):
    """What the package says of each text, or question and context."""
    if runner.kind == "span":
        found = [runner.answer(text, pair) for text, pair in rows]
        return [[[a.text, a.score, a.start, a.end] for a in some[:3]] for some in found]
    return [[r.label, r.scores] for r in runner.classify([text for text, _ in rows])]


def main(folder):
    folder, expected = Path(folder), {}
    with tempfile.TemporaryDirectory() as made:
        made = Path(made)
        save_bundle(made / "classification", **SMALL)
        span_bundle(made / "span")
        for kind, recipe in RECIPES.items():
            model = sqb_tf.load(made / kind)
            package = made / f"{kind}.tflite"
            package.write_bytes(tflite.convert(model, recipe))
            examples = model.info.sample("verification")
            rows = (
                [(text, None) for text in TEXTS]
                if kind != "span"
                else [(e.text, e.pair) for e in examples[:8]]
            )
            texts, pairs = zip(*rows)
            inputs = model.preprocessor(texts, pairs if kind == "span" else None)
            outputs = named_outputs(model, inputs)
            expected[kind] = {
                "rows": rows,
                "outputs": {name: np.asarray(v).tolist() for name, v in outputs.items()},
                "results": results(Runner(package), rows),
                "verify": verify(model, package, examples).to_dict(),
                "describe": {**describe(package), "package": package.name},
            }
        with tarfile.open(folder / "previous.tar.xz", "w:xz", preset=9) as archive:
            for path in sorted(made.rglob("*")):
                archive.add(path, path.relative_to(made), recursive=False)
    text = json.dumps(expected, indent=1, ensure_ascii=False, default=float)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
