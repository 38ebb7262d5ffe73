"""The student's first weights: what fits of its teacher's."""

from __future__ import annotations

from typing import Any

import numpy as np

_ATTENTION = ("query", "key", "value")
_PLAIN = ("post_attention_norm", "output_norm")


def taught_layers(student_layers: int, teacher_layers: int) -> list[int]:
    """The teacher's layer, from 1, whose states each of the student's layers learns.

    Evenly spaced, the last from the last: 2, 4 and 6 of 6 for 3 layers.
    """
    return [round((layer + 1) * teacher_layers / student_layers) for layer in range(student_layers)]


def copy_weights(student: Any, teacher: Any, layers: list[int]) -> None:
    """Gives a student's encoder its first weights.

    Embeddings and pooler are the teacher's, as are the blocks of the `layers` (of `taught_layers`): of a
    projection with more groups the diagonal blocks, of wider feed-forward layers the strongest channels.
    """
    student.embeddings.set_weights(teacher.embeddings.get_weights())
    student.pooler.set_weights(teacher.pooler.get_weights())
    for block, layer in zip(student.blocks, layers, strict=True):
        source = teacher.blocks[layer - 1]
        for name in _PLAIN:
            getattr(block, name).set_weights(getattr(source, name).get_weights())
        for name in _ATTENTION:
            _copy_projection(getattr(block.attention, name), getattr(source.attention, name))
        _copy_projection(block.post_attention, source.post_attention)
        _copy_feed_forward(block, source)


def dense_kernel(projection: Any) -> np.ndarray:
    """The kernel `[in, out]` of a grouped projection as a dense layer has it: 0 between the groups."""
    kernel = np.asarray(projection.kernel)[0]
    groups, (inputs, outputs) = projection.groups, kernel.shape
    dense = np.zeros((groups, inputs, groups, outputs // groups), kernel.dtype)
    for group, block in enumerate(np.split(kernel, groups, axis=1)):
        dense[group, :, group] = block
    return dense.reshape(groups * inputs, outputs)


def _copy_projection(target: Any, source: Any) -> None:
    _set_kernel(target, dense_kernel(source), np.asarray(source.bias))


def _copy_feed_forward(block: Any, source: Any) -> None:
    """Both projections, with the channels between them that matter most in each of the student's groups."""
    first, second = dense_kernel(source.intermediate), dense_kernel(source.output_projection)
    groups, width = block.intermediate.groups, block.intermediate.filters
    if width < first.shape[1]:
        # How much a channel reads and writes within each group's channels.
        strength = [
            np.linalg.norm(inputs, axis=0) * np.linalg.norm(outputs, axis=1)
            for inputs, outputs in zip(
                np.split(first, groups), np.split(second, groups, axis=1), strict=True
            )
        ]
        kept = _strongest(np.stack(strength), width // groups)
    else:
        kept = np.arange(width)
    _set_kernel(block.intermediate, first[:, kept], np.asarray(source.intermediate.bias)[kept])
    _set_kernel(block.output_projection, second[kept], np.asarray(source.output_projection.bias))


def _strongest(strength: np.ndarray, count: int) -> np.ndarray:
    """`count` channels for each group of `[groups, channels]`, by falling strength, none twice."""
    free = np.ones(strength.shape[1], bool)
    chosen = []
    for row in strength:
        best = np.argsort(np.where(free, -row, np.inf), kind="stable")[:count]
        free[best] = False
        chosen.append(np.sort(best))
    return np.concatenate(chosen)


def _set_kernel(projection: Any, dense: np.ndarray, bias: np.ndarray) -> None:
    """Assigns the diagonal blocks of `dense` `[in, out]`.

    They keep 1 / groups of a kernel's energy. Scaling them up does not help, see decision 091.
    """
    groups = projection.groups
    rows = np.split(dense, groups)
    blocks = [np.split(row, groups, axis=1)[group] for group, row in enumerate(rows)]
    projection.kernel.assign(np.concatenate(blocks, axis=1)[None])
    projection.bias.assign(bias)
