"""sqb_tf.data.task: layouts, labels, the held-out part, metrics."""

import numpy as np
import pytest
from fixtures.models import random_texts

from sqb_tf.data import parts
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.task import DEMO, Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.survey.survey import survey


def surveyed(task: Task) -> tuple[list[str], int]:
    """Labels, and the number of training examples."""
    result = survey(task)
    return result.labels, result.train.rows


def write_tsv(path, rows: list[tuple[str, str]], header: str = "text\tlabel") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *("\t".join(row) for row in rows)]) + "\n")


@pytest.fixture
def folder(tmp_path):
    """A folder with train and dev files of three labels."""
    write_tsv(tmp_path / "train.tsv", [("a", "red"), ("b", "blue"), ("c", "green"), ("d", "red")])
    write_tsv(tmp_path / "dev.tsv", [("e", "red"), ("f", "blue")])
    return tmp_path


def test_sst2_is_read_in_its_published_layout(tmp_path):
    header = "sentence\tlabel"
    write_tsv(tmp_path / "train.tsv", [("dull ", "0"), ("great ", "1"), ("bad ", "0")], header)
    write_tsv(tmp_path / "dev.tsv", [("fine ", "1")], header)
    task = Task("sst2", tmp_path)
    assert list(task.split("train"))[:2] == [
        Example("dull ", label="negative"),
        Example("great ", label="positive"),
    ]
    assert surveyed(task) == (["negative", "positive"], 3)
    assert (task.head, task.metric_name) == ("classification", "accuracy")


def test_sst2_label_of_another_task_raises_error(tmp_path):
    write_tsv(tmp_path / "train.tsv", [("dull", "2")], "sentence\tlabel")
    with pytest.raises(InputError, match=r"train\.tsv: label '2': expected one of 0, 1"):
        list(Task("sst2", tmp_path).split("train"))


def test_real_sst2_has_its_published_sizes(shared_data):
    task = Task("sst2", shared_data / "glue" / "SST-2")
    labels = [example.label for example in task.split("dev")]
    assert (labels.count("positive"), labels.count("negative")) == (444, 428)
    assert surveyed(task) == (["negative", "positive"], 67_349)


def test_labels_are_sorted_names_of_the_file(folder):
    assert surveyed(Task("classification", folder)) == (["blue", "green", "red"], 4)


def test_demo_data_ships(folder):
    labels, count = surveyed(Task("classification", DEMO))
    assert len(labels) > 2
    assert count > 100


def test_limit_holds_for_each_split_every_time(folder):
    task = Task("classification", folder, limit=2)
    train = task.split("train")
    assert [e.text for e in train] == [e.text for e in train] == ["a", "b"]
    assert surveyed(task) == (["blue", "red"], 2)
    assert len(list(Task("classification", folder, limit=99).split("dev"))) == 2


def test_columns_of_a_pair(tmp_path):
    write_tsv(tmp_path / "train.tsv", [("a", "b", "x")], "one\ttwo\ty")
    task = Task("classification", tmp_path, Columns("one", "two", "y"))
    assert list(task.split("train")) == [Example("a", "b", "x")]


def test_tenth_of_a_single_file_is_held_out(tmp_path):
    path = tmp_path / "all.tsv"
    texts = list(dict.fromkeys(random_texts(2000, longest=8)))
    write_tsv(path, [(text, "ab"[len(text) % 2]) for text in texts])
    task = Task("classification", path)
    train, dev = ([e.text for e in task.split(which)] for which in ("train", "dev"))
    assert sorted(train + dev) == sorted(texts)
    # A hash holds out each text with probability 0.1: four deviations of a binomial.
    assert abs(len(dev) - 0.1 * len(texts)) < 4 * np.sqrt(0.09 * len(texts))

    # Stable: what was held out stays so in a file that grew and was shuffled.
    more = sorted(set(texts + random_texts(300, seed=1, longest=8)))
    write_tsv(path, [(text, "ab"[len(text) % 2]) for text in more])
    grown = {e.text for e in task.split("dev")}
    assert grown & set(texts) == set(dev)


def test_single_file_has_no_test_split(tmp_path):
    path = tmp_path / "all.tsv"
    write_tsv(path, [("a", "x")])
    with pytest.raises(InputError, match=r"all\.tsv: split 'test'.*train or dev"):
        Task("classification", path).split("test")


def test_regression_is_surveyed_without_labels(tmp_path):
    write_tsv(tmp_path / "train.tsv", [("a", "1.5"), ("b", "-2e3"), ("c", "0")])
    write_tsv(tmp_path / "dev.tsv", [("d", "7")])
    task = Task("regression", tmp_path)
    assert surveyed(task) == (["score"], 3)
    assert (task.head, task.metric_name) == ("regression", "pearson")


@pytest.mark.parametrize("target", ["high", "nan", "inf"])
def test_regression_target_must_be_a_number(tmp_path, target):
    write_tsv(tmp_path / "train.tsv", [("a", "1.5"), ("b", target)])
    write_tsv(tmp_path / "dev.tsv", [("d", "7")])
    with pytest.raises(InputError, match=rf"train\.tsv: target '{target}' is not a number"):
        surveyed(Task("regression", tmp_path))


@pytest.mark.parametrize(
    ("train", "dev", "message"),
    [
        ([("a", "x"), ("b", "x")], [("c", "x")], r"train\.tsv: every example has the label 'x'"),
        ([("a", "x"), ("b", "y")], [("c", "z")], r"dev\.tsv: labels that .*train\.tsv lacks: z"),
        ([], [("c", "z")], r"train\.tsv: no train examples"),
        ([("a", "x"), ("b", "y")], [], r"dev\.tsv: no dev examples"),
    ],
)
def test_data_that_cannot_be_learned_raises_error(tmp_path, train, dev, message):
    write_tsv(tmp_path / "train.tsv", train)
    write_tsv(tmp_path / "dev.tsv", dev)
    with pytest.raises(InputError, match=message):
        surveyed(Task("classification", tmp_path))


def test_bad_arguments_raise_errors(folder):
    with pytest.raises(InputError, match=r"unknown task 'mmlu': .*sst2"):
        Task("mmlu", folder)
    with pytest.raises(InputError, match="limit 0"):
        Task("classification", folder, limit=0)


def test_targets_by_hand():
    examples = [Example("a", label="2"), Example("b", label="1"), Example("c", label="2")]
    assert registry.get("classification")(["1", "2"]).references(examples).tolist() == [1, 0, 1]
    assert registry.get("regression")(["score"]).references(examples).tolist() == [2.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("labels", "head", "message"),
    [
        (["x", "y"], "classification", "labels that the model does not have: z; it has x, y"),
        (["score"], "regression", "target 'z' is not a number"),
    ],
)
def test_targets_of_another_model_raise_error(labels, head, message):
    with pytest.raises(InputError, match=message):
        registry.get(head)(labels).references([Example("a", label="z")])
    with pytest.raises(InputError, match="no examples"):
        registry.get(head)(labels).references([])


def test_a_file_of_rare_labels_has_nothing_to_hold_out(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"a film {i},{i}\n" for i in range(300)))
    message = (
        r"csv \(dev\): no dev examples in it \(a class of fewer than 5 texts .*--task regression"
    )
    with pytest.raises(InputError, match=message):
        surveyed(Task("classification", path))


def test_rare_tags_of_one_file_stay_in_train(tmp_path):
    path = tmp_path / "all.conll"
    path.write_text("".join(f"film{i} O\nx B-{i}\n\n" for i in range(100)))
    task = Task("conll", path)
    (path.parent / "more.conll").write_text("".join(f"film{i} O\n\n" for i in range(100)))
    with pytest.raises(InputError, match=r"\(dev\): no dev examples in it"):
        surveyed(task)
    path.write_text(path.read_text() + (path.parent / "more.conll").read_text())
    assert len(surveyed(task)[0]) == 101


def test_labels_that_only_a_part_of_a_file_has(tmp_path, monkeypatch):
    """More labels than are counted, or a limit: the message says which."""
    path = tmp_path / "rare.csv"
    path.write_text("text,label\n" + "".join(f"a film {i},{i // 6}\n" for i in range(300)))
    with pytest.raises(InputError, match=r"lacks: \d.* \(train is its first 9 examples: raise the"):
        surveyed(Task("classification", path, limit=9))
    monkeypatch.setattr(parts, "MOST_LABELS", 40)
    path.write_text("text,label\n" + "".join(f"a film {i},{i}\n" for i in range(300)))
    message = (
        r"rare\.csv \(dev\): labels that .*\(train\) lacks: .*both are parts of one file, .* rare"
    )
    with pytest.raises(InputError, match=message):
        surveyed(Task("classification", path))


def test_numbers_as_labels_are_ordered_as_numbers(tmp_path):
    rows = [("a", "10"), ("b", "2"), ("c", "-1"), ("d", "none"), ("e", "O")]
    write_tsv(tmp_path / "train.tsv", rows)
    write_tsv(tmp_path / "dev.tsv", rows)
    assert surveyed(Task("classification", tmp_path))[0] == ["O", "-1", "2", "10", "none"]


@pytest.mark.parametrize("share", [1, 20, 50])
def test_every_class_has_a_row_in_each_part_and_rare_ones_stay_in_train(share, tmp_path):
    """With 5 rows a class, a tenth alone would leave half of the classes out of dev."""
    rows = [(f"{label} number {i}", f"{label}") for label in range(100) for i in range(5)]
    rows += [(f"rare {label} number {i}", f"rare {label}") for label in range(20) for i in range(4)]
    write_tsv(tmp_path / "all.tsv", rows)
    task = Task("classification", tmp_path / "all.tsv", test=share)
    parts = {which: list(task.split(which)) for which in ("train", "dev", "test")}
    assert sorted((e.text, e.label) for part in parts.values() for e in part) == sorted(rows)
    for part in parts.values():
        assert {str(label) for label in range(100)} <= {e.label for e in part}
    rare = {f"rare {label}" for label in range(20)}
    assert not rare & {e.label for which in ("dev", "test") for e in parts[which]}
    again = Task("classification", tmp_path / "all.tsv", test=share)
    assert list(again.split("test")) == parts["test"]


def test_a_text_that_occurs_again_is_in_one_part(tmp_path):
    rows = [(f"text {i % 50}", f"label {i % 12}") for i in range(200)]  # with different labels too
    rows += [(f"text {i % 50}", f"rare {i}") for i in range(10)]
    write_tsv(tmp_path / "all.tsv", rows)
    task = Task("classification", tmp_path / "all.tsv")
    train, dev = ({e.text for e in task.split(which)} for which in ("train", "dev"))
    assert dev and not train & dev


def test_a_test_share_is_taken_from_train_alone(folder):
    rows = [(f"{word} {i}", word) for word in ("red", "blue") for i in range(100)]
    write_tsv(folder / "train.tsv", rows)
    task = Task("classification", folder, test=30)
    train, test = ([e.text for e in task.split(which)] for which in ("train", "test"))
    assert sorted(train + test) == sorted(text for text, _ in rows)
    assert 40 <= len(test) <= 80  # 60 are expected
    assert [e.text for e in task.split("dev")] == ["e", "f"]
    other = Task("classification", folder, test=folder / "dev.tsv")
    assert [e.text for e in other.split("test")] == ["e", "f"]
    assert len(list(other.split("train"))) == 200
    with pytest.raises(InputError, match="test 60%: expected a share of 1% to 50%"):
        Task("classification", folder, test=60)
