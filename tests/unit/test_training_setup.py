"""What a run sets up: determinism and a dtype policy that end with it, its checks and samples."""

import keras
import pytest
from tensorflow.python.framework import config

from sqb_tf.errors import InputError
from sqb_tf.training.checks import check_request
from sqb_tf.training.determinism import reproducible
from sqb_tf.training.dtype_policy import dtype_policy
from sqb_tf.training.reservoir import ReservoirSample


def test_determinism_ends_with_the_run_even_if_it_fails():
    assert not config.is_op_determinism_enabled()
    with pytest.raises(KeyboardInterrupt), reproducible(seed=0):
        assert config.is_op_determinism_enabled()
        raise KeyboardInterrupt
    assert not config.is_op_determinism_enabled()


def test_determinism_that_the_caller_enabled_stays():
    config.enable_op_determinism()
    try:
        with reproducible(seed=0):
            pass
        assert config.is_op_determinism_enabled()
    finally:
        config.disable_op_determinism()


def test_equal_seeds_give_equal_weights():
    kernels = []
    for seed in (1, 1, 2):
        with reproducible(seed):
            layer = keras.layers.Dense(4)
            layer.build((None, 4))
            kernels.append(keras.ops.convert_to_numpy(layer.kernel))
    assert (kernels[0] == kernels[1]).all() and (kernels[0] != kernels[2]).any()


def test_a_dtype_policy_ends_with_its_context():
    with dtype_policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


def test_save_every_is_checked(tmp_path):
    with pytest.raises(InputError, match="save_every 0: expected at least 1"):
        check_request(tmp_path / "out", 0)


def test_a_sample_is_uniform_and_repeatable():
    counts = [0] * 20
    for offset in range(2000):
        sample = ReservoirSample(5)
        for item in range(20):
            sample.offer((item + offset) % 20)
        assert len(set(sample.items)) == 5
        for item in sample.items:
            counts[item] += 1
    # 2000 x 5 / 20 = 500 each; the same slots each time, so a rotation makes it exact.
    assert counts == [500] * 20
    short = ReservoirSample(5)
    short.offer("a")
    assert short.items == ["a"]
