"""The student's first weights: what fits of its teacher's."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

Array = np.ndarray


def taught_layers(student_layers: int, teacher_layers: int) -> list[int]:
    """The teacher's layer, from 1, whose states each of the student's layers learns.

    Evenly spaced, the last from the last: 2, 4 and 6 of 6 for 3 layers.
    """
    return [round((layer + 1) * teacher_layers / student_layers) for layer in range(student_layers)]


def copy_weights(
    student: Any, teacher: Any, layers: list[int], directions: Array | None = None
) -> None:
    """Gives a student's encoder its first weights.

    Embeddings and pooler are the teacher's, as are the blocks of the `layers` (of `taught_layers`): of a
    projection with more groups the diagonal blocks, of wider feed-forward layers the strongest channels.

    Args:
        student: the encoder.
        teacher: its teacher's.
        layers: the teacher's layers.
        directions: for a narrower student, its channels as directions of the teacher's states, orthonormal,
            `[teacher's hidden, hidden]`.
    """
    heads = teacher.config.num_attention_heads
    for block, layer in zip(student.blocks, layers, strict=True):
        weights = _Block.read(teacher.blocks[layer - 1])
        if directions is not None:
            weights = weights.narrowed(directions, heads)
        weights.write(block)
    if directions is None:
        student.embeddings.set_weights(teacher.embeddings.get_weights())
        student.pooler.set_weights(teacher.pooler.get_weights())
        return
    *tables, gain, offset = teacher.embeddings.get_weights()
    norm = _Norm(gain, offset).narrowed(directions)
    student.embeddings.set_weights([*(table @ directions for table in tables), *norm])
    kernel, bias = teacher.pooler.get_weights()
    student.pooler.set_weights([directions.T @ kernel @ directions, bias @ directions])


class _Norm(tuple):
    """Gain and offset of a norm, `[hidden]` each."""

    def __new__(cls, gain: Array, offset: Array) -> _Norm:
        return super().__new__(cls, (gain, offset))

    def narrowed(self, directions: Array) -> _Norm:
        """One gain for all directions, with which the states keep their length."""
        gain, offset = self
        hidden, kept = directions.shape
        length = np.sqrt(np.mean(np.square(gain)) * hidden / kept)
        return _Norm(np.full(kept, length, gain.dtype), offset @ directions)


@dataclasses.dataclass(frozen=True)
class _Dense:
    """A projection as a dense layer has it: kernel `[in, out]`, 0 between groups, and bias `[out]`."""

    kernel: Array
    bias: Array

    @classmethod
    def read(cls, projection: Any) -> _Dense:
        return cls(dense_kernel(projection), np.asarray(projection.bias))

    def write(self, projection: Any) -> None:
        """Assigns the diagonal blocks.

        They keep 1 / groups of a kernel's energy. Scaling them up does not help, see decision 091.
        """
        groups = projection.groups
        rows = np.split(self.kernel, groups)
        blocks = [np.split(row, groups, axis=1)[group] for group, row in enumerate(rows)]
        projection.kernel.assign(np.concatenate(blocks, axis=1)[None])
        projection.bias.assign(self.bias)


@dataclasses.dataclass(frozen=True)
class _Block:
    """The weights of an encoder block, dense."""

    query: _Dense
    key: _Dense
    value: _Dense
    post_attention: _Dense
    intermediate: _Dense
    output_projection: _Dense
    post_attention_norm: _Norm
    output_norm: _Norm

    @classmethod
    def read(cls, block: Any) -> _Block:
        return cls(
            _Dense.read(block.attention.query),
            _Dense.read(block.attention.key),
            _Dense.read(block.attention.value),
            _Dense.read(block.post_attention),
            _Dense.read(block.intermediate),
            _Dense.read(block.output_projection),
            _Norm(*block.post_attention_norm.get_weights()),
            _Norm(*block.output_norm.get_weights()),
        )

    def write(self, block: Any) -> None:
        self.query.write(block.attention.query)
        self.key.write(block.attention.key)
        self.value.write(block.attention.value)
        self.post_attention.write(block.post_attention)
        first, second = self._strongest_channels(block.intermediate)
        first.write(block.intermediate)
        second.write(block.output_projection)
        block.post_attention_norm.set_weights(self.post_attention_norm)
        block.output_norm.set_weights(self.output_norm)

    def _strongest_channels(self, intermediate: Any) -> tuple[_Dense, _Dense]:
        """Both feed-forward projections, with the channels that matter most in each of the groups."""
        first, second = self.intermediate, self.output_projection
        groups, width = intermediate.groups, intermediate.filters
        if width == len(first.bias):
            return first, second
        # How much a channel reads and writes within each group's channels.
        sides = np.split(first.kernel, groups), np.split(second.kernel, groups, axis=1)
        strength = [
            np.linalg.norm(inputs, axis=0) * np.linalg.norm(outputs, axis=1)
            for inputs, outputs in zip(*sides, strict=True)
        ]
        kept = _strongest(np.stack(strength), width // groups)
        return (
            _Dense(first.kernel[:, kept], first.bias[kept]),
            _Dense(second.kernel[kept], second.bias),
        )

    def narrowed(self, directions: Array, heads: int) -> _Block:
        """The block on states whose channels are `directions`, with as many heads, of fewer channels each.

        Each head's scores, and what it adds to the states, have the least squared error of their weights.
        """
        hidden, kept = directions.shape
        size = kept // heads
        into = {
            name: np.split(directions.T @ getattr(self, name).kernel, heads, axis=1)
            for name in ("query", "key", "value")
        }
        # Scores are divided by the root of a head's channels.
        into["key"] = [kernel * np.sqrt(kept / hidden) for kernel in into["key"]]
        out = np.split(self.post_attention.kernel @ directions, heads)
        biases = np.split(self.query.bias, heads)
        query, key, value, mixed, query_bias = [], [], [], [], []
        for head in range(heads):
            q, k = _factors(into["query"][head] @ into["key"][head].T, size)
            query.append(q)
            key.append(k)
            # The key's own bias adds the same to all scores of a token, so it has no effect.
            reads = into["key"][head] @ biases[head]
            query_bias.append(np.linalg.lstsq(k, reads, rcond=None)[0])
            v, o = _factors(into["value"][head] @ out[head], size)
            value.append(v)
            mixed.append(o.T)
        none: Array = np.zeros(kept, np.float32)
        # The probabilities add up to 1, so the value's bias passes through.
        bias = self.post_attention.bias + self.value.bias @ self.post_attention.kernel
        return _Block(
            _Dense(np.concatenate(query, axis=1), np.concatenate(query_bias)),
            _Dense(np.concatenate(key, axis=1), none),
            _Dense(np.concatenate(value, axis=1), none),
            _Dense(np.concatenate(mixed), bias @ directions),
            _Dense(directions.T @ self.intermediate.kernel, self.intermediate.bias),
            _Dense(
                self.output_projection.kernel @ directions, self.output_projection.bias @ directions
            ),
            self.post_attention_norm.narrowed(directions),
            self.output_norm.narrowed(directions),
        )


def _factors(product: Array, rank: int) -> tuple[Array, Array]:
    """`left @ right.T`, of `rank` columns each, the nearest to `product` `[n, n]`."""
    left, values, right = np.linalg.svd(product)
    roots = np.sqrt(values[:rank])
    return left[:, :rank] * roots, right[:rank].T * roots


def dense_kernel(projection: Any) -> Array:
    """The kernel `[in, out]` of a grouped projection as a dense layer has it: 0 between the groups."""
    kernel = np.asarray(projection.kernel)[0]
    groups, (inputs, outputs) = projection.groups, kernel.shape
    dense = np.zeros((groups, inputs, groups, outputs // groups), kernel.dtype)
    for group, block in enumerate(np.split(kernel, groups, axis=1)):
        dense[group, :, group] = block
    return dense.reshape(groups * inputs, outputs)


def _strongest(strength: Array, count: int) -> Array:
    """`count` channels for each group of `[groups, channels]`, by falling strength, none twice."""
    free = np.ones(strength.shape[1], bool)
    chosen = []
    for row in strength:
        best = np.argsort(np.where(free, -row, np.inf), kind="stable")[:count]
        free[best] = False
        chosen.append(np.sort(best))
    return np.concatenate(chosen)
