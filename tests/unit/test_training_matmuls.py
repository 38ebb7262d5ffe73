"""benchmarks/training_matmuls.py: the matmuls that are timed alone are those of the model's graph."""

from collections import Counter

import tensorflow as tf
from fixtures import models

from benchmarks.training_matmuls import block_matmuls, matmuls_step, squeezing_matmuls_step
from sqb_tf import SqueezeBertClassifier
from sqb_tf.config import GROUP_FIELDS

BATCH, LENGTH = 2, 5


def test_matmuls_are_those_of_a_classifiers_graph():
    config = models.tiny_config(q_groups=2, post_attention_groups=1, output_groups=2)
    model = SqueezeBertClassifier(config, num_labels=3)
    inputs = models.random_inputs(config, batch=BATCH, length=LENGTH)
    graph = tf.function(lambda: model(inputs, training=True)).get_concrete_function().graph
    in_graph = Counter(
        # Keras transposes the keys before it multiplies them.
        tuple(tuple(shape.shape) for shape in op.inputs)
        for op in graph.get_operations()
        if op.type in ("MatMul", "BatchMatMulV2")
    )
    expected = Counter()
    for block in range(config.num_hidden_layers):
        last = block == config.num_hidden_layers - 1
        expected.update(block_matmuls(config, BATCH, LENGTH, first_token_only=last))
    expected[(BATCH, config.hidden_size), (config.hidden_size, config.hidden_size)] += 1  # pooler
    expected[(BATCH, config.hidden_size), (config.hidden_size, 3)] += 1  # classifier
    assert in_graph == expected


def test_a_step_is_timed():
    for precision in ("float32", "mixed_bfloat16"):
        step = matmuls_step(models.tiny_config(), BATCH, LENGTH, precision)
        assert all(step()[name] > 0 for name in ("seconds", "cpu"))


def test_squeezing_has_gradients_of_the_student_alone(monkeypatch):
    shapes = []

    def record(left, right, **options):
        shapes.append((tuple(left.shape), tuple(right.shape)))
        return matmul(left, right, **options)

    matmul = tf.matmul
    monkeypatch.setattr(tf, "matmul", record)
    teacher = models.tiny_config(**dict.fromkeys(GROUP_FIELDS, 1))
    student = models.tiny_config(num_hidden_layers=1)
    step = squeezing_matmuls_step(teacher, student, BATCH, LENGTH, "float32")
    assert all(step()[name] > 0 for name in ("seconds", "cpu"))
    # A block of each is traced once, however many there are.
    frozen = list(block_matmuls(teacher, BATCH, LENGTH, first_token_only=False))
    taught = list(block_matmuls(student, BATCH, LENGTH, first_token_only=False))
    assert shapes[: len(frozen)] == frozen
    assert shapes[len(frozen) :: 3] == taught
    assert len(shapes) == len(frozen) + 3 * len(taught)
