"""SqueezeBertConfig: accepted values, errors, presets, JSON."""

import dataclasses
import json

import pytest

from sqb_tf.config import ACTIVATIONS, OWN_FIELDS, PRESETS, SqueezeBertConfig
from sqb_tf.errors import InputError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 0),
        ("vocab_size", True),
        ("hidden_size", 768.0),
        ("num_hidden_layers", -1),
        ("num_attention_heads", "12"),
        ("hidden_act", "mish"),
        ("hidden_act", None),
        ("hidden_dropout_prob", 1.0),
        ("attention_probs_dropout_prob", -0.1),
        ("initializer_range", 0.0),
        ("layer_norm_eps", float("nan")),
        ("num_attention_heads", 7),  # 768 channels do not divide into 7 heads
        ("q_groups", 5),
        ("k_groups", 5),
        ("v_groups", 5),
        ("post_attention_groups", 5),
        ("intermediate_groups", 1024),  # divides 3,072 but not 768
        ("output_groups", 1024),
        ("token_mixer", "fourier"),
        ("token_mixer", None),
        ("mixer_kernel_size", 0),
        ("mixer_kernel_size", 4),
        ("mixer_kernel_size", 7.0),
    ],
)
def test_bad_value_error_names_field_and_value(field, value):
    with pytest.raises(InputError, match=rf"{field}={value!r}"):
        SqueezeBertConfig(**{field: value})


def test_intermediate_size_must_divide_too():
    with pytest.raises(InputError, match="intermediate_groups=4 does not divide 3074 channels"):
        SqueezeBertConfig(intermediate_size=3074, output_groups=2)


def test_kernel_is_no_longer_than_the_text():
    convolutions = dict(token_mixer="separable_conv", max_position_embeddings=8)
    assert SqueezeBertConfig(mixer_kernel_size=15, **convolutions).mixer_kernel_size == 15
    with pytest.raises(InputError, match=r"mixer_kernel_size=17: .*at most .* = 15"):
        SqueezeBertConfig(mixer_kernel_size=17, **convolutions)
    assert SqueezeBertConfig(max_position_embeddings=2)  # attention has no kernel


def test_convolutions_ignore_the_fields_of_attention():
    sizes = dict(hidden_size=200, num_attention_heads=12, q_groups=3, k_groups=3, v_groups=3)
    assert SqueezeBertConfig(token_mixer="separable_conv", **sizes).hidden_size == 200
    with pytest.raises(InputError, match="num_attention_heads=12"):
        SqueezeBertConfig(**sizes)
    with pytest.raises(InputError, match="post_attention_groups=3 does not divide 200"):
        SqueezeBertConfig(token_mixer="separable_conv", post_attention_groups=3, **sizes)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_valid_and_takes_overrides(name):
    config = SqueezeBertConfig.from_preset(name, vocab_size=100)
    assert config.vocab_size == 100
    assert config == dataclasses.replace(SqueezeBertConfig.from_preset(name), vocab_size=100)


def test_base_preset_is_the_papers():
    config = SqueezeBertConfig.from_preset("squeezebert-base")
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (
        768,
        12,
        3072,
    )
    groups = [
        config.q_groups,
        config.k_groups,
        config.v_groups,
        config.post_attention_groups,
        config.intermediate_groups,
        config.output_groups,
    ]
    assert groups == [4, 4, 4, 1, 4, 4]  # table 1 of the paper
    assert config.head_size == 64


def test_unknown_preset_error_lists_the_known():
    with pytest.raises(InputError, match=r"'squeezebert-huge'.*squeezebert-base"):
        SqueezeBertConfig.from_preset("squeezebert-huge")


def test_unknown_key_error_names_it():
    with pytest.raises(InputError, match="hidden_sise"):
        SqueezeBertConfig.from_dict({"hidden_sise": 768})
    with pytest.raises(InputError, match="hidden_sise"):
        SqueezeBertConfig.from_preset("squeezebert-tiny", hidden_sise=768)


def test_json_round_trip(tmp_path):
    config = SqueezeBertConfig.from_preset(
        "squeezebert-tiny", hidden_act="gelu_new", layer_norm_eps=1e-7, q_groups=2
    )
    config.to_json(tmp_path / "config.json")
    assert SqueezeBertConfig.from_json(tmp_path / "config.json") == config


def test_json_from_before_token_mixers_existed_has_self_attention(tmp_path):
    config = SqueezeBertConfig.from_preset("squeezebert-tiny")
    older = {k: v for k, v in config.to_dict().items() if k not in OWN_FIELDS}
    assert len(older) == len(config.to_dict()) - 3
    (tmp_path / "config.json").write_text(json.dumps(older))
    assert SqueezeBertConfig.from_json(tmp_path / "config.json") == config
    assert config.token_mixer == "self_attention"


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b'{"hidden_size": 0}', b'{"x": 1}'])
def test_bad_json_error_names_the_file(content, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json"):
        SqueezeBertConfig.from_json(path)


def test_missing_json_error_names_the_file(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json"):
        SqueezeBertConfig.from_json(tmp_path / "absent.json")


def test_config_is_frozen_and_hashable(tiny_config):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_config.hidden_size = 64
    assert len({tiny_config, dataclasses.replace(tiny_config)}) == 1


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_accepted(name):
    assert SqueezeBertConfig(hidden_act=name).hidden_act == name
