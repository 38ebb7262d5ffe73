"""benchmarks/training_matmuls.py: the matmuls that are timed alone are those of the model's graph."""

from collections import Counter

import tensorflow as tf
from fixtures import models

from benchmarks.training_matmuls import block_matmuls, matmuls_step, squeezing_matmuls_step
from sqb_tf import SqueezeBertClassifier

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
        config = models.tiny_config()
        alone = matmuls_step(config, BATCH, LENGTH, precision)
        squeezing = squeezing_matmuls_step(config, config, BATCH, LENGTH, precision)
        for step in (alone, squeezing):
            assert all(step()[name] > 0 for name in ("seconds", "cpu"))
