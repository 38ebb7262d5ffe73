"""Multiple choice: SWAG's files and custom ones, batches of several choices, and training to package."""

import csv
import functools
import json
import random
import re

import numpy as np
import pytest
from fixtures.commands import call, rejects
from fixtures.models import VOCABULARY, random_texts

import sqb_tf
import sqb_tflite
from sqb_tf.data.choices import ChoicesFile
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.survey.survey import survey
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.training.pipeline import TrainingBatches, example_stream

SWAG = Columns("sent1", "sent2", "label")
# The published columns; the first, the index, has no name.
HEADER = ["", "video-id", "fold-ind", "startphrase", "sent1", "sent2", "gold-source"]
HEADER += [f"ending{i}" for i in range(4)] + ["label"]
OPPOSITES = {"good": "bad", "long": "short", "old": "new", "hot": "cold"}


def swag(path, seed: int, count: int, labelled: bool = True) -> None:
    """Rows in SWAG's format; the right ending has the opposite of the first sentence's word."""
    rng = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER if labelled else HEADER[:-1])
        for index in range(count):
            word = rng.choice(list(OPPOSITES))
            endings = [f'is {w}, "or so".' for w in rng.sample(list(OPPOSITES.values()), 4)]
            right = next(i for i, e in enumerate(endings) if OPPOSITES[word] in e)
            first, second = f"The film is not {word}.", "It"
            row = [index, "v", index, f"{first} {second}", first, second, "gold", *endings, right]
            writer.writerow(row if labelled else row[:-1])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swag")
    swag(folder / "train.csv", 0, 400)
    swag(folder / "val.csv", 1, 50)
    swag(folder / "test.csv", 2, 5, labelled=False)
    return folder


@pytest.fixture(scope="module")
def chooser(data, tmp_path_factory):
    """A bundle fine-tuned on `data`."""
    output = tmp_path_factory.mktemp("chooser") / "bundle"
    flags = ["--data", data, "--task", "swag", "--preset", "squeezebert-tiny", "--output", output]
    flags += ["--epochs", 6, "--batch-size", 16, "--seq-length", 24, "--vocab-size", 120]
    assert call("finetune", *flags, "--dropout", 0) == 0
    return output


def test_published_columns_are_read(data):
    task = Task("swag", data)
    first = next(iter(task.split("train")))
    assert re.fullmatch(r"The film is not \w+\.", first.text)
    choices = first.pair.split("\t")
    assert len(choices) == 4 and all(c.startswith("It is ") for c in choices)
    assert choices[0].endswith(', "or so".')
    word = OPPOSITES[first.text.split()[-1].strip(".")]
    assert word in choices[int(first.label)]
    data = survey(task)
    assert (
        (data.labels, data.train.rows) == ([], 400)
        and task.paired
        and task.metric_name == "accuracy"
    )
    assert task.split("dev").name.endswith("val.csv")
    assert [e.label for e in task.split("test")] == [None] * 5


def test_own_columns_and_lists(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "why?", "choices": ["a\\tb", " so  it is "], "right": 1}\n')
    expected = Example("why?", "a b\tso it is", "1")
    assert list(ChoicesFile(path, Columns("q", None, "right"))) == [expected]
    path = tmp_path / "a.tsv"
    path.write_text("q\tright\tending0\tending1\nwhy?\t1\ta b\tso it is\n")
    assert list(ChoicesFile(path, Columns("q", None, "right"))) == [expected]
    columns = Columns("q", None, "right")
    assert list(Task("multiple_choice", path, columns).split("train")) in ([expected], [])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (['{"text": "a", "label": 0}'], "a.jsonl:1: choices []: expected two texts or more"),
        (['{"text": "a", "choices": ["b"], "label": 0}'], "a.jsonl:1: choices ['b']: expected two"),
        (['{"text": "a", "choices": ["b", 3], "label": 0}'], "a.jsonl:1: choices ['b', 3]"),
        (['{"text": "a", "choices": ["b", " "], "label": 0}'], "a.jsonl:1: choices ['b', ' ']"),
        (
            ['{"text": "a", "choices": ["b", "c"], "label": 2}'],
            "a.jsonl:1: label '2': expected the index of the right choice, 0 to 1",
        ),
        (['{"text": "a", "choices": ["b", "c"]}'], "a.jsonl:1: no column 'label'"),
        (['{"choices": ["b", "c"], "label": 0}'], "a.jsonl:1: no column 'text'"),
        (
            [
                '{"text": "a", "choices": ["b", "c"], "label": 0}',
                '{"text": "a", "choices": ["b", "c", "d"], "label": 0}',
            ],
            "a.jsonl:2: 3 choices, the rows before have 2",
        ),
    ],
)
def test_bad_rows_are_named(rows, message, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match=re.escape(message)):
        list(ChoicesFile(path))


def test_batches_hold_every_choice_as_a_pair():
    texts = random_texts(90, seed=2)
    head = registry.get("multiple_choice")((), True)
    examples = [
        Example(text, "\t".join(texts[3 * i : 3 * i + 3]), str(i % 3))
        for i, text in enumerate(texts[:30])
    ]
    preprocessor = Preprocessor(WordPieceTokenizer(VOCABULARY), 24)
    stream = example_stream(examples, head)

    @functools.cache
    def expected_inputs(number: int, length: int | None) -> dict[str, np.ndarray]:
        choices = examples[number].pair.split("\t")
        tensors = preprocessor([examples[number].text] * 3, choices, length)
        return {name: values.numpy() for name, values in tensors.items()}

    seen = []
    for inputs, targets in TrainingBatches(stream, preprocessor, head, 8, seed=0).epoch(0):
        ids = inputs["input_word_ids"].numpy()
        length = ids.shape[2]
        assert ids.shape[1] == 3 and len(ids) == len(targets)
        fitting = [
            i for i in range(30) if expected_inputs(i, None)["input_mask"].shape[1] <= length
        ]
        for row, target in zip(range(len(ids)), targets.numpy(), strict=True):
            encoded = {name: values[row].numpy() for name, values in inputs.items()}
            matches = [
                examples[i]
                for i in fitting
                if all(np.array_equal(x, encoded[k]) for k, x in expected_inputs(i, length).items())
            ]
            assert target in [int(e.label) for e in matches]
            seen += [e.text + e.pair for e in matches[:1]]
    assert len(set(seen)) == 30


def test_choices_of_any_number_are_evaluated():
    head = registry.get("multiple_choice")((), True)
    examples = [Example("a", "b\tc", "1"), Example("a", "b\tc\td", "2")]
    logits = [[0.0, 2.0], [1.0, 3.0, 2.0]]
    results = [
        head.decode(e.texts, [], [{"logits": [value]} for value in values])
        for e, values in zip(examples, logits, strict=True)
    ]
    assert [r.choice for r in results] == [1, 1]
    assert head.scores(["accuracy"], head.metric_inputs(results), head.references(examples)) == {
        "accuracy": 0.5
    }
    np.testing.assert_allclose(results[0].scores, np.exp([0, 2]) / np.exp([0, 2]).sum())
    with pytest.raises(InputError, match="label '2': expected the index of a choice"):
        head.references([Example("a", "b\tc", "2")])


def test_choices_are_learned_converted_and_verified(chooser, data, tmp_path, capsys):
    record = json.loads((chooser / "task.json").read_text())
    assert (record["kind"], record["paired"]) == ("multiple_choice", True)
    assert record["metric"]["name"] == "accuracy" and record["metric"]["value"] > 0.9
    package, result = tmp_path / "swag.tflite", tmp_path / "result.json"
    assert call("convert", "--model", chooser, "--quantize", "int8", "--output", package) == 0
    verification = json.loads(package.with_suffix(".json").read_text())["verification"]
    assert verification["examples"] == 50 and set(verification["tensors"]) == {"logits"}
    assert verification["metric"]["drop"] <= 0.02 and verification["agreement"] >= 0.98

    model = sqb_tf.load(chooser)
    runner = sqb_tflite.Runner(package)
    submissions = []
    for source in (["--model", chooser], ["--package", package]):
        flags = [*source, "--data", data, "--task", "swag", "--json", result]
        assert call("evaluate", *flags) == 0
        metric = json.loads(result.read_text())["metric"]
        assert metric["value"] == pytest.approx(record["metric"]["value"], abs=0.02)
        assert call("evaluate", *flags, "--split", "test", "--predictions", tmp_path / "p.tsv") == 0
        submissions.append((tmp_path / "p.tsv").read_text().splitlines())
    assert submissions[0] == submissions[1] and submissions[0][0] == "index\tprediction"
    examples = list(Task("swag", data).split("test"))
    for line, example in zip(submissions[0][1:], examples, strict=True):
        choices = example.pair.split("\t")
        inputs = model.preprocessor([example.text] * 4, choices)
        logits = model({k: v[None] for k, v in inputs.items()}).numpy()[0]
        assert int(line.split("\t")[1]) == logits.argmax()
        chosen = runner.choose(example.text, choices)
        assert chosen.choice == logits.argmax()
        weights = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(chosen.scores, weights, atol=0.05)

    text, choices = "The film is not hot.", ["It is new.", "It is cold.", "It is bad."]
    capsys.readouterr()
    for source in (["--model", chooser], ["--package", package]):
        assert call("predict", *source, "\t".join([text, *choices]), "--jsonl") == 0
        row = json.loads(capsys.readouterr().out)
        assert row["choice"] == 1 and len(row["scores"]) == 3
        assert call("predict", *source, "\t".join([text, *choices])) == 0
        assert capsys.readouterr().out.endswith(f"\t{text}\tIt is cold.\n")
    with pytest.raises(InputError, match="no choices: expected two texts"):
        runner.choose(text, [])
    with pytest.raises(InputError, match="a package for multiple_choice: expected one for span"):
        runner.answer("is it?", "a film")


def test_the_number_of_choices_must_be_one(data, tmp_path):
    for split in ("train", "dev"):
        rows = [{"text": "a", "choices": ["b", "c"], "label": 0}] * 3
        rows.append({"text": "a", "choices": ["b", "c", "d"], "label": 0})
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    rejects(
        r"train\.jsonl:4: 3 choices, the rows before have 2: expected as many in every row",
        *(
            "finetune",
            "--data",
            tmp_path,
            "--task",
            "multiple_choice",
            "--output",
            tmp_path / "out",
        ),
    )
