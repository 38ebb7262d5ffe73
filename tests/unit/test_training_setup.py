"""What a run sets up: determinism and a dtype policy that end with it, its checks and samples."""

import keras
import pytest
from tensorflow.python.framework import config

from sqb_tf.checkpoint import pretrained
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.data.reservoir import ReservoirSample
from sqb_tf.errors import InputError
from sqb_tf.training.checks import check_request
from sqb_tf.training.determinism import reproducible
from sqb_tf.training.dtype_policy import dtype_policy
from sqb_tf.training.options import FinetuneOptions


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


@pytest.mark.parametrize(
    "new",
    [
        {"preset": "squeezebert-tiny"},
        {"dropout": 0.1},
        {"vocabulary": "vocab.txt"},
        {"vocab_size": 6000},
        {"lowercase": False},
    ],
)
def test_fine_tuning_starts_from_the_checkpoint_unless_a_new_model_is_asked_for(new):
    assert FinetuneOptions().init == pretrained.DEFAULT
    options = FinetuneOptions(**new)
    assert options.init is None
    assert options.preset == new.get("preset", "squeezebert-small")


@pytest.mark.parametrize(
    ("options", "layers", "hidden", "fresh_head", "expected"),
    [
        ({"preset": "squeezebert-base"}, 12, 768, True, 1e-3),
        ({"init": "x"}, 12, 768, True, 5e-5),
        ({"init": "x"}, 6, 384, True, 2e-4),
        ({}, 4, 384, True, 3e-4),
        ({}, 2, 384, True, 3e-4),  # few layers count as 4
        ({"init": "x"}, 2, 128, True, 9e-4),
        ({"init": "x"}, 2, 64, True, 1e-3),
        ({"init": "x"}, 3, 384, False, 1e-4),
        ({"init": "x", "learning_rate": 3e-5}, 3, 384, True, 3e-5),
    ],
)
def test_the_learning_rate_follows_from_the_start(options, layers, hidden, fresh_head, expected):
    config = SqueezeBertConfig(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=4)
    rate = FinetuneOptions(batch_size=32, **options).peak_rate(config, fresh_head)
    assert rate == pytest.approx(expected)
    if "learning_rate" not in options:
        four_times = FinetuneOptions(batch_size=128, **options)
        assert four_times.peak_rate(config, fresh_head) == pytest.approx(2 * expected)


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
