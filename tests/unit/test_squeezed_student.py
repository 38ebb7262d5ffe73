"""The first weights of a squeezed student: what it has of its teacher."""

import keras
import numpy as np
import pytest
from fixtures.models import random_inputs, randomize, tiny_config

from sqb_tf.config import GROUP_FIELDS
from sqb_tf.model.backbone import SqueezeBertBackbone
from sqb_tf.training.squeezing.student import copy_weights, dense_kernel, taught_layers

DENSE = dict.fromkeys(GROUP_FIELDS, 1)


def test_layers_are_evenly_spaced_and_the_last_learns_from_the_last():
    assert taught_layers(3, 6) == [2, 4, 6]
    assert taught_layers(6, 6) == [1, 2, 3, 4, 5, 6]
    assert taught_layers(2, 12) == [6, 12]
    for teacher_layers in range(1, 13):
        for layers in range(1, teacher_layers + 1):
            taught = taught_layers(layers, teacher_layers)
            assert len(set(taught)) == layers and taught[0] >= 1 and taught[-1] == teacher_layers


def encoders(**sizes) -> tuple[SqueezeBertBackbone, SqueezeBertBackbone]:
    """A student and its teacher of 4 dense layers."""
    teacher = SqueezeBertBackbone(tiny_config(num_hidden_layers=4, **DENSE))
    randomize(teacher)
    return SqueezeBertBackbone(tiny_config(**{**DENSE, **sizes})), teacher


def test_a_student_of_its_teachers_size_is_its_teacher():
    student, teacher = encoders(num_hidden_layers=4)
    copy_weights(student, teacher, [1, 2, 3, 4])
    inputs = random_inputs(student.config, 2, 9)
    outputs, expected = student(inputs), teacher(inputs)
    for name, values in expected.items():
        np.testing.assert_array_equal(outputs[name], values)


def test_groups_keep_the_diagonal_blocks():
    student, teacher = encoders(q_groups=4, k_groups=2, intermediate_groups=2, output_groups=4)
    copy_weights(student, teacher, [2, 4])
    for block, layer in zip(student.blocks, (2, 4), strict=True):
        source = teacher.blocks[layer - 1]
        for projection, expected in (
            (block.attention.query, source.attention.query),
            (block.attention.key, source.attention.key),
            (block.attention.value, source.attention.value),
            (block.intermediate, source.intermediate),
            (block.output_projection, source.output_projection),
        ):
            kernel, groups = np.asarray(expected.kernel)[0], projection.groups
            rows, columns = (np.arange(n) * groups // n for n in kernel.shape)
            inside = rows[:, None] == columns[None]
            actual = dense_kernel(projection)
            assert not actual[~inside].any()
            np.testing.assert_array_equal(actual[inside], kernel[inside])
            np.testing.assert_array_equal(projection.bias, expected.bias)
        np.testing.assert_array_equal(block.output_norm.gamma, source.output_norm.gamma)


def test_a_grouped_teacher_is_copied():
    student, teacher = SqueezeBertBackbone(tiny_config()), SqueezeBertBackbone(tiny_config())
    randomize(teacher)
    copy_weights(student, teacher, [1, 2])
    for actual, expected in zip(student.weights, teacher.weights, strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_narrower_feed_forward_keeps_the_strongest_channels(groups):
    student, teacher = encoders(
        intermediate_size=32, intermediate_groups=groups, output_groups=groups
    )
    source = teacher.blocks[3]
    first = np.asarray(source.intermediate.kernel).copy()
    first[..., ::2] *= 100  # these 32 of 64 matter
    source.intermediate.kernel.assign(first)
    copy_weights(student, teacher, [2, 4])
    kernel = np.asarray(student.blocks[1].intermediate.kernel)
    assert np.abs(kernel).mean(axis=(0, 1)).min() > np.abs(first[..., 1::2]).mean() * 10


def test_a_narrower_student_with_every_direction_is_its_teacher():
    """In another basis; norms need equal gains, and directions that keep the mean."""
    student, teacher = encoders(num_hidden_layers=4)
    for norm in [teacher.embeddings.layer_norm] + [
        norm for block in teacher.blocks for norm in (block.post_attention_norm, block.output_norm)
    ]:
        norm.gamma.assign(np.full(norm.gamma.shape, 1.5))
    hidden = teacher.config.hidden_size
    permutation = np.random.default_rng(0).permutation(hidden)
    directions = np.eye(hidden, dtype=np.float32)[permutation].T
    copy_weights(student, teacher, [1, 2, 3, 4], directions)
    inputs = random_inputs(student.config, 2, 9)
    outputs, expected = student(inputs), teacher(inputs)
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values @ directions, atol=2e-4, err_msg=name)


def test_heads_of_fewer_channels_attend_as_before_where_their_rank_allows():
    """Queries, keys and values of rank 3 a head, states in half of the directions: nothing is lost."""
    rng = np.random.default_rng(0)
    student, teacher = encoders(num_hidden_layers=4, hidden_size=16)
    hidden, heads_ = teacher.config.hidden_size, teacher.config.num_attention_heads
    directions = np.linalg.qr(rng.normal(size=(hidden, 16)))[0].astype("f4")
    attention = teacher.blocks[0].attention
    for name in ("query", "key", "value"):
        low_rank = np.concatenate(
            [
                rng.normal(size=(hidden, 3)) @ rng.normal(size=(3, hidden // heads_))
                for _ in range(heads_)
            ],
            axis=1,
        )
        getattr(attention, name).kernel.assign(low_rank[None])
    copy_weights(student, teacher, [1, 2, 3, 4], directions)
    states = rng.normal(size=(1, 7, 16)).astype("f4")
    mask = np.zeros((1, 1, 1, 7), "f4")

    def mixed(block, x):
        context, scores = block.attention(x, mask)
        return np.asarray(block.post_attention(context)), keras.ops.softmax(scores)

    actual, probabilities = mixed(student.blocks[0], states)
    expected, expected_probabilities = mixed(teacher.blocks[0], states @ directions.T)
    np.testing.assert_allclose(probabilities, expected_probabilities, atol=1e-4)
    np.testing.assert_allclose(actual, expected @ directions, rtol=1e-3, atol=1e-3)
