"""The operations counted in packages are those of the model's formula."""

import numpy as np
import pytest
from fixtures.models import LABELS, tiny_config

from benchmarks import matmul_limits

LENGTH = 11


def by_formula() -> tuple[float, float]:
    """Two for each pair of factors: of the matmuls with weights, and of attention's own two.

    Every block but the last runs for all tokens; the last for the first token, except its keys and values.
    """
    c = tiny_config()
    size, inner = c.hidden_size, c.intermediate_size
    query, key_value = size * size / c.q_groups, size * size * (1 / c.k_groups + 1 / c.v_groups)
    rest = size * size / c.post_attention_groups
    rest += size * inner * (1 / c.intermediate_groups + 1 / c.output_groups)
    whole, head = c.num_hidden_layers - 1, size * size + size * len(LABELS)
    weights = (whole * LENGTH + 1) * (query + rest) + (whole + 1) * LENGTH * key_value + head
    attention = (whole * LENGTH + 1) * 2 * LENGTH * size
    return 2 * weights, 2 * attention


@pytest.mark.parametrize("recipe", ["float32", "int8"])
@pytest.mark.parametrize("lengths", [(), (LENGTH,)])
def test_counts_are_those_of_the_formula(converted, tmp_path, recipe, lengths):
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(recipe, *lengths))
    ones = np.ones([1, LENGTH], np.int32)
    inputs = {f"input_{name}": ones for name in ("word_ids", "mask", "type_ids")}
    counts = matmul_limits.operations(path, inputs)
    weights, attention = by_formula()
    if recipe == "float32":
        assert counts == {"int8": 0, "float32": weights + attention}
    else:
        assert counts == {"int8": weights, "float32": attention}


def test_the_least_time_is_that_of_both_dtypes():
    least = matmul_limits.least_ms({"int8": 6e9, "float32": 1e9}, {"int8": 2e12, "float32": 1e11})
    assert least == pytest.approx(3 + 10)
