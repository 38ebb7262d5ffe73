"""Heads are described once: every description is complete, and no other file asks for a head by name."""

import ast
import dataclasses
import importlib
from pathlib import Path

import pytest
from fixtures.imports import sources
from fixtures.paths import REPOSITORY

from sqb_tf.data.task_specs import TASKS
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.head import Head, Output
from sqb_tf.heads.task_head import TaskHead

every_head = pytest.mark.parametrize("name", registry.NAMES)
# As task.json and sqb.json of earlier versions have them.
PUBLISHED = {
    "classification",
    "multi_label",
    "regression",
    "token_classification",
    "span",
    "multiple_choice",
    "masked_lm",
    "pretraining",
    "embedding",
    "encoder",
}
# Where a head may be named: its description, and its lowering of the same name.
DESCRIPTIONS = ("sqb_tf/heads/", "tflite/conversion/lowering/heads.py")


@every_head
def test_descriptions_are_complete(name):
    head = registry.get(name)
    assert (head.name, Path(importlib.import_module(head.__module__).__file__).stem) == (name, name)
    assert issubclass(head, Head) and dataclasses.is_dataclass(head)
    assert head.outputs and all(isinstance(output, Output) for output in head.outputs)
    assert head.hf_class.startswith(("For", "Model"))
    if issubclass(head, TaskHead):
        assert head.metrics and not head.__abstractmethods__
    bound = head(head.fixed_labels or ("a", "b"), head.always_paired)
    with pytest.raises(dataclasses.FrozenInstanceError):
        bound.paired = True


@pytest.mark.parametrize("name", sorted({*registry.LEARNERS} - {*registry.TASK_NAMES}))
def test_learners_are_complete(name):
    """They train and score the model of a head that has no labels, and leave its bundles as they are."""
    learner = registry.get_task_head(name)
    head = registry.get(learner.name)
    assert Path(importlib.import_module(learner.__module__).__file__).stem == name
    assert issubclass(learner, TaskHead) and issubclass(learner, head) and head.gives_vectors
    assert learner.metrics and not learner.__abstractmethods__
    for described in ("keras_class", "keras_settings", "decoding_settings", "outputs", "hf_class"):
        assert getattr(learner, described) == getattr(head, described), described


def test_names_are_those_of_files_that_users_have():
    assert set(registry.NAMES) == PUBLISHED
    assert {*registry.TASK_NAMES, *registry.TEXT_NAMES} == PUBLISHED
    with pytest.raises(
        InputError, match="unknown head 'x': expected one of classification, embedding"
    ):
        registry.get("x")


def test_every_head_has_a_keras_class_and_every_class_a_head():
    from sqb_tf.model import heads
    from sqb_tf.model.backbone import ConfiguredModel, SqueezeBertBackbone

    paths = {head.keras_class for head in registry.HEADS.values()}
    classes = {
        value
        for value in vars(heads).values()
        if isinstance(value, type) and issubclass(value, ConfiguredModel)
    } - {ConfiguredModel}
    assert SqueezeBertBackbone in classes
    assert paths == {f"{c.__module__}.{c.__name__}" for c in classes}


def test_every_head_has_a_lowering():
    from sqb_tflite.conversion.lowering.heads import HEADS

    assert set(HEADS) == set(registry.NAMES)


def test_every_task_has_a_head_and_its_metrics():
    for spec in TASKS.values():
        assert set(spec.metrics) <= set(registry.get_task_head(spec.head).metrics)
        assert spec.format.always_paired <= registry.get_task_head(spec.head).always_paired


def compared_heads(path: Path) -> list[str]:
    """The lines of a file that compare a value with the name of a head, or look it up in a table of them."""
    comparisons = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        compared = []
        if isinstance(node, ast.Compare):
            compared = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            compared = [node.value]
        elif isinstance(node, ast.Dict):  # a table of heads
            compared = [key for key in node.keys if key is not None]
            compared = compared if len(compared) > 1 else []
        names = {
            constant.value
            for part in compared
            for constant in ast.walk(part)
            if isinstance(constant, ast.Constant)
        }
        if names & PUBLISHED and isinstance(node, ast.Dict) and not names <= PUBLISHED:
            continue  # a table of other things, one of which has a head's name
        if names & PUBLISHED:
            comparisons.append(f"{path.relative_to(REPOSITORY)}:{node.lineno}: {sorted(names)}")
    return comparisons


def test_no_other_file_asks_for_a_head_by_name():
    comparisons = []
    for folder in ("sqb_tf", "tflite", "tools"):
        for path in sources(folder):
            if not str(path.relative_to(REPOSITORY)).startswith(DESCRIPTIONS):
                comparisons += compared_heads(path)
    assert not comparisons


def test_the_search_finds_comparisons_and_tables(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "REPOSITORY", tmp_path)
    source = tmp_path / "a.py"
    source.write_text(
        'a = kind == "span"\n'
        'b = kind in ("classification", "regression")\n'
        'c = {"span": 1, "encoder": 2}\n'
        'd = {"span": 1, "other": 2}\n'
        'e = name == "other" or build("span")\n'
    )
    assert [line.split(":")[1] for line in compared_heads(source)] == ["1", "2", "3"]
