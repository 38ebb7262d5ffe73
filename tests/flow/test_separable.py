"""token_mixer="separable_conv": padding, what a token sees, weights of the other mixer, packages."""

import json
import shutil

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from fixtures.commands import ROOT, call, rejects
from fixtures.models import (
    SMALL_ENOUGH,
    random_inputs,
    randomize,
    tiny_config,
)
from fixtures.tiers import FREQUENT, tiered

import sqb_tf
from sqb_tf.checkpoint import bundle
from sqb_tf.config import PRESETS, SqueezeBertConfig
from sqb_tf.model.backbone import SqueezeBertBackbone
from sqb_tflite.runtime.runner import Runner
from sqb_tflite.verification.verify import verify

NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if type(code) is int}


def backbone(**overrides) -> SqueezeBertBackbone:
    model = SqueezeBertBackbone(tiny_config(token_mixer="separable_conv", **overrides))
    randomize(model)
    return model


@pytest.mark.parametrize("kernel", [1, 3, 31])
def test_outputs_do_not_depend_on_how_much_padding_follows(kernel):
    """A batch padded to its own length, to 16 and to 64; a text of it alone."""
    model = backbone(mixer_kernel_size=kernel)
    inputs = random_inputs(model.config, batch=4, length=13)
    tokens = inputs["input_mask"] == 1
    expected = model(inputs)
    for length in (16, 64):
        padded = {k: np.pad(v, [(0, 0), (0, length - 13)]) for k, v in inputs.items()}
        # The ids at padding do not matter either.
        padded["input_word_ids"] = np.where(padded["input_mask"], padded["input_word_ids"], 7)
        actual = model(padded)
        assert actual["sequence_output"].shape[1] == length
        np.testing.assert_allclose(actual["pooled_output"], expected["pooled_output"], atol=1e-6)
        np.testing.assert_allclose(
            actual["sequence_output"].numpy()[:, :13][tokens],
            expected["sequence_output"].numpy()[tokens],
            atol=1e-6,
        )
    for row, length in enumerate(tokens.sum(-1)):
        alone = model({k: v[row : row + 1, :length] for k, v in inputs.items()})
        pooled = expected["pooled_output"][row : row + 1]
        np.testing.assert_allclose(alone["pooled_output"], pooled, atol=1e-6)


def test_a_token_sees_so_many_neighbours_a_block():
    """Two blocks with a kernel of 5 see 4 tokens to either side; the pooled output sees all tokens."""
    model = backbone(mixer_kernel_size=5)
    inputs = random_inputs(model.config, batch=1, length=20)
    changed = {k: v.copy() for k, v in inputs.items()}
    changed["input_word_ids"][0, 10] += 1
    before, after = model(inputs), model(changed)
    moved = np.abs(after["sequence_output"] - before["sequence_output"])[0].max(-1) > 1e-6
    assert np.flatnonzero(moved).tolist() == list(range(6, 15))
    assert np.abs(after["pooled_output"] - before["pooled_output"]).max() > 1e-4


def test_pooled_only_is_the_same_pooled_output():
    model = backbone()
    shorter = SqueezeBertBackbone(model.config, pooled_only=True)
    shorter.set_weights(model.get_weights())
    inputs = random_inputs(model.config, 3, 9)
    assert set(shorter.output) == {"pooled_output"}
    np.testing.assert_array_equal(shorter(inputs)["pooled_output"], model(inputs)["pooled_output"])


def test_a_block_gives_the_first_token_alone_on_request():
    model = backbone()
    hidden = np.random.default_rng(0).normal(size=(3, 9, 32)).astype(np.float32)
    mask = random_inputs(model.config, 3, 9)["input_mask"]
    ((every,), (first,)) = (model.blocks[0](hidden, mask, first_token_only=f) for f in (0, 1))
    np.testing.assert_allclose(first, every[:, :1], atol=1e-6)


def test_states_without_attention_scores():
    model = backbone()
    inputs = random_inputs(model.config, 3, 9)
    states, expected = model.with_states()(inputs), model(inputs)
    assert states["attention_scores"] == []
    assert len(states["hidden_states"]) == 3
    for name, values in expected.items():
        np.testing.assert_array_equal(states[name], values)
    (hidden,) = model.blocks[0](states["hidden_states"][0], inputs["input_mask"])
    np.testing.assert_array_equal(hidden, states["hidden_states"][1])


def test_preset_is_the_small_one_but_for_its_mixer():
    config = SqueezeBertConfig.from_preset("squeezebert-separable", token_mixer="self_attention")
    small = SqueezeBertConfig.from_preset("squeezebert-small", mixer_kernel_size=3)
    assert config == small


@pytest.mark.parametrize("name", PRESETS)
def test_documented_parameters(name):
    """The table of presets in docs/models.md: parameters of the blocks, and of all with BERT's vocabulary."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    lines = page.split("## Presets")[1].splitlines()
    row = next(line for line in lines if line.startswith(f"| `{name}`"))
    documented = [int(cell.replace(",", "")) for cell in row.strip("| ").split("|")[-2:]]
    model = SqueezeBertBackbone(SqueezeBertConfig.from_preset(name))
    assert documented == [sum(b.count_params() for b in model.blocks), model.count_params()]


def test_bundle_comes_back(separable_bundle_dir):
    model = sqb_tf.load(separable_bundle_dir)
    assert model.config.token_mixer == "separable_conv" and model.config.mixer_kernel_size == 5
    examples = model.info.sample("verification")
    inputs = model.preprocessor([e.text for e in examples])
    predicted = [model.labels[i] for i in model(inputs).numpy().argmax(-1)]
    assert predicted == [e.label for e in examples]


@pytest.mark.parametrize(
    "change", [dict(token_mixer="self_attention"), dict(mixer_kernel_size=3)], ids=str
)
def test_weights_of_another_mixer_are_refused(change, separable_bundle_dir, tmp_path):
    folder = shutil.copytree(separable_bundle_dir, tmp_path / "bundle")
    config = {**json.loads((folder / "config.json").read_text()), **change}
    (folder / "config.json").write_text(json.dumps(config))
    rejects("h5: .*weights of another config than config.json's", "predict", "--model", folder, "a")


def test_transformers_has_no_such_model(separable_bundle_dir, tmp_path):
    flags = ["--model", separable_bundle_dir, "--output", tmp_path / "hf"]
    rejects(
        r"config\.json: token_mixer='separable_conv': `transformers` has no", "export_hf", *flags
    )
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize(
    ("recipe", "lengths"),
    tiered(
        [*((name, ()) for name in SMALL_ENOUGH), ("int8", (16, 32))],
        [(name, ()) for name in FREQUENT],
    ),
)
def test_every_recipe_is_the_keras_model(recipe, lengths, converted, separable_bundle_dir):
    model = sqb_tf.load(separable_bundle_dir)
    content = converted(recipe, *lengths, directory=separable_bundle_dir)
    report = verify(model, content, model.info.sample("verification"))
    assert report.misses == [] and report.examples > 20
    assert report.max_abs_error < (2e-5 if recipe == "float32" else 0.1)


def test_fixed_length_answers_as_any_length(converted, separable_bundle_dir):
    """The padding of the fixed one is masked in every block and in the mean."""
    dynamic, fixed = (
        Runner(converted("float32", *lengths, directory=separable_bundle_dir))
        for lengths in ((), (32,))
    )
    for inputs in dynamic.inputs([("the film was good", None), ("bad", None)]):
        expected = dynamic(inputs)["probabilities"]
        np.testing.assert_allclose(fixed(inputs)["probabilities"], expected, atol=2e-5)


@pytest.mark.parametrize("recipe", ["float32", "int8"])
def test_the_convolution_is_one_float_operation_within_xnnpack(
    recipe, converted, separable_bundle_dir
):
    """All of the graph behind the look-ups is one part, so none of it runs on reference kernels."""
    content = converted(recipe, directory=separable_bundle_dir)
    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    (subgraph,) = graph.subgraphs
    codes = [graph.operatorCodes[op.opcodeIndex].builtinCode for op in subgraph.operators]
    names = [NAMES[code] for code in codes]
    assert names.count("DEPTHWISE_CONV_2D") == 2
    assert not {"BATCH_MATMUL", "CONV_2D", "TRANSPOSE", "GATHER", "SELECT_V2"} & set(names)
    for operation, name in zip(subgraph.operators, names, strict=True):
        if name == "DEPTHWISE_CONV_2D":
            kernel = subgraph.tensors[operation.inputs[1]]
            assert kernel.type == schema.TensorType.FLOAT32
            assert tuple(kernel.shape) == (1, 1, 5, 256)
    interpreter = Interpreter(model_content=content)
    for tensor in interpreter.get_input_details():
        interpreter.resize_tensor_input(tensor["index"], [1, 16])
    interpreter.allocate_tensors()
    ran = [op["op_name"] for op in interpreter._get_ops_details()]
    assert ran.count("DELEGATE") == 1


def test_fine_tuned_from_its_preset_to_a_verified_package(tmp_path):
    """The documented commands, briefly."""
    flags = ["--data", ROOT / "sqb_tf" / "demo", "--limit", 48, "--epochs", 1, "--seq-length", 16]
    flags += ["--preset", "squeezebert-separable", "--vocab-size", 300]
    assert call("finetune", *flags, "--output", tmp_path / "out") == 0
    assert bundle.read_info(tmp_path / "out").config.token_mixer == "separable_conv"
    package = tmp_path / "out.tflite"
    flags = ["--model", tmp_path / "out", "--quantize", "int8", "--output", package]
    assert call("convert", *flags, "--allow-loss") == 0
    assert call("predict", "--package", package, "a good film") == 0
