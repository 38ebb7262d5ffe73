"""Squeezing: the loss, the run by the tool, exact resuming, JAX."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fixtures.commands import ROOT, call, listing, rejects
from fixtures.hugging_face import save_bundle
from fixtures.models import VOCABULARY, randomize, tiny_config
from fixtures.runs import MISTAKES, assert_same_weights, metrics, needs_jax, run_in_jax, stop_after
from fixtures.tiers import tiered

import sqb_tf
import sqb_tflite
from sqb_tf.checkpoint import bundle
from sqb_tf.config import GROUP_FIELDS
from sqb_tf.model import heads
from sqb_tf.model.backbone import SqueezeBertBackbone
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.training.pretraining.batches import Batches
from sqb_tf.training.pretraining.shards import Shards
from sqb_tf.training.squeezing.options import SqueezeOptions
from sqb_tf.training.squeezing.squeezer import AttentionDivergence, HiddenError, Texts
from sqb_tf.training.squeezing.student import copy_weights

DENSE = dict.fromkeys(GROUP_FIELDS, 1)
# 6 steps of 8 instances, saved at 2, 4 and 6.
SMALL = ["--layers", 2, "--groups", 2, "--steps", 6, "--batch-size", 8, "--save-every", 2]
SMALL += ["--evaluate-every", 3]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """An embedder with 4 dense layers, random weights, no vector of length 1."""
    model = heads.SqueezeBertEmbedder(tiny_config(num_hidden_layers=4, **DENSE), normalize=False)
    randomize(model)
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    sqb_tf.save(model, folder, tokenizer=WordPieceTokenizer(VOCABULARY), seq_length=48)
    return folder


@pytest.fixture(scope="module")
def shards(teacher, text, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "shards"
    flags = ["--text", text, "--held-out", 20, "--seq-length", 32, "--steps", 0]
    assert call("squeeze", "--teacher", teacher, *flags, "--shards", folder) == 0
    return folder


@pytest.fixture(scope="module")
def small(teacher, shards, tmp_path_factory) -> Path:
    """The bundle of `SMALL`."""
    out = tmp_path_factory.mktemp("small") / "out"
    flags = ["--teacher", teacher, "--shards", shards, *SMALL]
    assert call("squeeze", *flags, "--output", out) == 0
    assert listing(out.parent) == ["out"]
    return out


# --- The loss ---


def test_errors_are_those_of_numpy():
    rng = np.random.default_rng(0)
    states, expected = rng.normal(size=(2, 3, 5, 8)).astype("f4")
    scores, expected_scores = rng.normal(size=(2, 3, 2, 5, 5)).astype("f4")
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], np.int32)
    scores, expected_scores = (
        s - 1e4 * (1 - mask[:, None, None]) for s in (scores, expected_scores)
    )
    tokens = mask.astype(bool)
    variance = float(expected[tokens].var(axis=0).mean())
    for row, error, divergence in zip(
        range(3),
        np.asarray(HiddenError(variance)(states, expected, mask)),
        np.asarray(AttentionDivergence()(scores, expected_scores, mask)),
        strict=True,
    ):
        n = mask[row].sum()
        difference = (states[row, :n] - expected[row, :n]) ** 2
        assert error == pytest.approx(difference.mean() / variance, rel=1e-5)
        p, q = (np.exp(s[row, :, :n, :n]) for s in (expected_scores, scores))
        p, q = (x / x.sum(-1, keepdims=True) for x in (p, q))
        assert divergence == pytest.approx((p * np.log(p / q)).sum(-1).mean(), rel=1e-5)


def test_half_of_the_inputs_are_single_texts(shards):
    opened = Shards(shards)
    instances = opened.read("train", np.arange(40))
    inputs, _, _ = Texts(opened)(instances, (0, 1, 2))
    cls, sep = (opened.vocabulary.index(token) for token in ("[CLS]", "[SEP]"))
    singles = 0
    for row, (first, second) in enumerate(instances.lengths):
        mask = inputs["input_mask"][row]
        ids, types = (inputs[name][row] for name in ("input_word_ids", "input_type_ids"))
        tokens = instances.tokens[row, : first + second]
        assert not ids[mask == 0].any() and not types[mask == 0].any()
        if types.any():
            expected = [cls, *tokens[:first], sep, *tokens[first:], sep]
            assert types.sum() == second + 1
        else:
            expected, singles = [cls, *tokens, sep], singles + 1
        assert ids[mask == 1].tolist() == expected
    assert 10 < singles < 30


# --- The run ---


def held_out(teacher: Path, shards: Path) -> list[dict[str, np.ndarray]]:
    """The inputs that a run is evaluated on."""
    opened = Shards(shards)
    batches = Batches(opened, Texts(opened), SqueezeOptions(teacher=str(teacher)))
    return [inputs for inputs, _, _ in batches.dev()]


def untrained_error(teacher: Path, shards: Path) -> float:
    """The last layer's error of a student with its first weights: what it has without learning."""
    source = sqb_tf.load(teacher).backbone
    student = SqueezeBertBackbone(
        SqueezeOptions(teacher="", layers=2, groups=2).student_config(source.config)
    )
    copy_weights(student, source, [2, 4])
    difference, spread = [], []
    for inputs in held_out(teacher, shards):
        mask = inputs["input_mask"].astype(bool)
        actual, expected = (
            np.asarray(m(inputs)["sequence_output"])[mask] for m in (student, source)
        )
        difference.append(((actual - expected) ** 2).mean(axis=-1))
        spread.append(expected)
    return np.concatenate(difference).mean() / np.concatenate(spread).var(axis=0).mean()


def test_the_student_learns_its_teachers_states(teacher, shards, tmp_path, capsys):
    """The reported errors are those of the bundle's model, and fall."""
    flags = ["--teacher", teacher, "--shards", shards, "--layers", 2, "--groups", 2, "--steps", 60]
    flags += ["--batch-size", 16, "--evaluate-every", 20, "--learning-rate", 5e-3]
    assert call("squeeze", *flags, "--output", tmp_path / "out") == 0
    output = capsys.readouterr()
    results = metrics(tmp_path / "out")
    curve = [point["hidden_errors"][-1] for point in results["curve"]]
    assert curve[2] < curve[0] and results["metric"]["value"] == curve[2]
    assert "held-out hidden errors" in output.err and "attention divergence" in output.out
    assert results["taught_layers"] == [2, 4] and (tmp_path / "out" / "logs").is_dir()
    student, expected = (sqb_tf.load(path) for path in (tmp_path / "out", teacher))
    assert curve[2] < 0.6 * untrained_error(teacher, shards)
    errors, states = [], []
    for inputs in held_out(teacher, shards):
        mask = inputs["input_mask"].astype(bool)
        actual, wanted = (
            np.asarray(model.backbone.with_states()(inputs)["hidden_states"][-1])
            for model in (student, expected)
        )
        rows = ((actual - wanted) ** 2).mean(axis=-1)
        errors.extend(row[tokens].mean() for row, tokens in zip(rows, mask, strict=True))
        states.append(wanted[mask])
    variance = np.concatenate(states).var(axis=0).mean()
    assert np.mean(errors) / variance == pytest.approx(curve[2], rel=1e-3)
    np.testing.assert_array_equal(
        student.backbone.embeddings.word_embeddings.embeddings,
        expected.backbone.embeddings.word_embeddings.embeddings,
    )


def test_the_bundle_has_the_teachers_head_and_is_a_start(small, tmp_path):
    info = bundle.read_info(small)
    assert info.task.kind == "embedding" and info.task.seq_length == 48
    assert info.task.settings == {"pooling": "mean", "normalize": False}
    assert (info.config.num_hidden_layers, info.config.q_groups) == (2, 2)
    assert info.config.post_attention_groups == 1
    assert len(info.sample("calibration")) > 64
    release = sqb_tflite.release(small, tmp_path / "a.tflite", recipe="float32")
    assert release.report.max_abs_error < 1e-4
    flags = ["--data", ROOT / "sqb_tf/demo", "--limit", 32, "--epochs", 1, "--seq-length", 16]
    assert call("finetune", *flags, "--init", small, "--output", tmp_path / "tuned") == 0


@pytest.mark.parametrize("saves", tiered([1, 2, 3], [2]))
def test_resume_is_exact(saves, small, teacher, shards, tmp_path, monkeypatch, capsys):
    flags = ["--teacher", teacher, "--shards", shards, *SMALL, "--output", tmp_path / "out"]
    stop_after(monkeypatch, saves, "squeeze", *flags)
    with np.load(tmp_path / "out.training" / "state.npz") as state:
        sizes = [state[name].size for name in state.files]
    student = sqb_tf.load(small).backbone
    learned = sum(np.size(w) for block in student.blocks for w in block.trainable_weights)
    # Weights and AdamW's two moments, a few counters: no teacher, no embeddings, no pooler.
    assert 3 * learned < sum(sizes) < 3 * learned + 100
    capsys.readouterr()
    assert call("squeeze", *flags, "--resume") == 0
    assert f"resuming at step {(2, 3, 4)[saves - 1]} of 6" in capsys.readouterr().err
    assert_same_weights(small, tmp_path / "out")
    assert metrics(small)["curve"] == metrics(tmp_path / "out")["curve"]
    assert listing(tmp_path) == ["out"]


def test_a_teacher_that_has_changed_is_not_resumed(teacher, shards, tmp_path, monkeypatch):
    """Its weights are in no state: the rest of the run would learn from another one."""
    copied = Path(shutil.copytree(teacher, tmp_path / "teacher"))
    flags = ["--teacher", copied, "--shards", shards, *SMALL, "--output", tmp_path / "out"]
    stop_after(monkeypatch, 1, "squeeze", *flags)
    model = sqb_tf.load(copied)
    randomize(model, seed=1)
    sqb_tf.save(model, copied)
    rejects(
        "has teacher-weights .*: repeat its flags, or start again", "squeeze", *flags, "--resume"
    )


def test_parts_of_a_step_have_its_loss(teacher, shards, small, tmp_path):
    flags = ["--teacher", teacher, "--shards", shards, *SMALL, "--micro-batch-size", 2]
    assert call("squeeze", *flags, "--output", tmp_path / "out") == 0
    assert_same_weights(small, tmp_path / "out", tolerance=5e-4)


def test_a_narrower_student_learns_too(teacher, shards, tmp_path):
    """With as many heads, of fewer channels each, and an embedding of its own width."""
    width = sqb_tf.load(teacher).config.hidden_size // 2
    flags = ["--teacher", teacher, "--shards", shards, "--layers", 2, "--groups", 2]
    flags += ["--hidden", width, "--batch-size", 16, "--evaluate-every", 20]
    flags += ["--learning-rate", 5e-3, "--steps", 60, "--output", tmp_path / "out"]
    assert call("squeeze", *flags) == 0
    info, results = bundle.read_info(tmp_path / "out"), metrics(tmp_path / "out")
    config, expected = info.config, bundle.read_info(teacher).config
    assert (config.hidden_size, config.num_attention_heads) == (width, expected.num_attention_heads)
    assert config.intermediate_size == expected.intermediate_size // 2
    curve = [point["hidden_errors"][-1] for point in results["curve"]]
    assert curve[2] < curve[0]
    assert sqb_tf.load(tmp_path / "out").info.task.kind == "embedding"
    rejects("hidden_size 64: expected at most the teacher's", "squeeze", *flags, "--hidden", 64)
    rejects("no student of it: hidden_size=18 is not", "squeeze", *flags, "--hidden", 18)


def test_an_earlier_student_is_trained_on(small, teacher, shards, tmp_path):
    """`--init` takes its weights and sizes: almost nothing is learned at this rate."""
    flags = ["--teacher", teacher, "--shards", shards, "--init", small, "--steps", 2]
    flags += ["--learning-rate", 1e-9, "--output", tmp_path / "out"]
    assert call("squeeze", *flags) == 0
    assert_same_weights(small, tmp_path / "out", tolerance=1e-6)
    assert bundle.read_info(tmp_path / "out").config == bundle.read_info(small).config
    rejects("init and layers: the init has its own", "squeeze", *flags, "--layers", 1)
    rejects("preset and init: the student", "squeeze", *flags, "--preset", "squeezebert-tiny")
    for name, config, vocabulary in (
        ("hidden_size is 16, the teacher's is 32", tiny_config(hidden_size=16), VOCABULARY),
        ("hidden_act is relu, the teacher's is gelu", tiny_config(hidden_act="relu"), VOCABULARY),
        ("its vocabulary is not that of", tiny_config(), [*VOCABULARY[:-1], "otherwise"]),
    ):
        model = heads.SqueezeBertEmbedder(config)
        sqb_tf.save(model, tmp_path / "other", tokenizer=WordPieceTokenizer(vocabulary))
        flags[flags.index("--init") + 1] = tmp_path / "other"
        rejects(f"init .*other: {name}", "squeeze", *flags)


def test_a_teacher_of_single_texts(text, tmp_path):
    """Without a second token type there are no pairs to learn from."""
    model = heads.SqueezeBertEmbedder(tiny_config(type_vocab_size=1, max_position_embeddings=40))
    randomize(model)
    sqb_tf.save(model, tmp_path / "single", tokenizer=WordPieceTokenizer(VOCABULARY))
    flags = ["--teacher", tmp_path / "single", "--text", text, "--held-out", 20, "--layers", 1]
    flags += ["--seq-length", 32, "--shards", tmp_path / "shards"]
    assert call("squeeze", *flags, "--steps", 0) == 0
    rejects(
        "seq_length 41: .*single has 40 positions",
        "squeeze",
        *flags,
        "--seq-length",
        41,
        "--steps",
        0,
    )
    flags = [*flags[:2], *flags[6:8], *flags[10:], "--steps", 2]  # the shards' own length counts
    assert call("squeeze", *flags, "--output", tmp_path / "out") == 0
    # The same vocabulary under another name.
    again = shutil.copytree(tmp_path / "single", tmp_path / "copy")
    flags = ["--teacher", again, "--text", text, "--held-out", 20, "--seq-length", 32, "--steps", 0]
    assert call("squeeze", *flags, "--shards", tmp_path / "shards") == 0
    flags = ["--init", tmp_path / "single", "--shards", tmp_path / "shards"]
    rejects(
        "type_vocab_size is 1: pretraining is on", "pretrain", *flags, "--output", tmp_path / "o"
    )


@pytest.mark.slow
def test_seed_repeats_a_run(small, teacher, shards, tmp_path):
    flags = ["--teacher", teacher, "--shards", shards, *SMALL]
    assert call("squeeze", *flags, "--output", tmp_path / "again") == 0
    assert_same_weights(small, tmp_path / "again")
    assert call("squeeze", *flags, "--seed", 1, "--output", tmp_path / "other") == 0
    assert metrics(small)["curve"] != metrics(tmp_path / "other")["curve"]


@pytest.mark.parametrize("head", tiered(["masked_lm", "pretraining", "encoder"], ["masked_lm"]))
def test_the_head_is_the_teachers(head, shards, tmp_path):
    teacher = save_bundle(tmp_path / "teacher", head)
    flags = ["--teacher", teacher, "--shards", shards, "--layers", 1, "--steps", 2]
    assert call("squeeze", *flags, "--output", tmp_path / "out") == 0
    model, expected_model = sqb_tf.load(tmp_path / "out"), sqb_tf.load(teacher)
    assert type(model) is type(expected_model)
    for name in {"masked_lm": ["head"], "pretraining": ["head", "order_head"]}.get(head, []):
        layers = getattr(model, name), getattr(expected_model, name)
        for actual, expected in zip(*(layer.weights for layer in layers), strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_a_classifiers_student_has_no_head(shards, tmp_path):
    teacher = save_bundle(tmp_path / "teacher", "classification")
    flags = ["--teacher", teacher, "--shards", shards, "--layers", 1, "--steps", 2]
    assert call("squeeze", *flags, "--output", tmp_path / "out") == 0
    assert bundle.read_info(tmp_path / "out").task.kind == "encoder"


@pytest.mark.slow
@pytest.mark.peers
@needs_jax
def test_jax_squeezes_without_tensorflow(small, teacher, shards, tmp_path):
    """Equal to TensorFlow's run up to rounding."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    flags = ["--teacher", teacher, "--shards", shards, *SMALL, "--output", tmp_path / "out"]
    done = run_in_jax(tmp_path, "squeeze", *flags)
    assert done.returncode == 0, done.stderr
    curves = [metrics(path)["curve"] for path in (small, tmp_path / "out")]
    for expected, actual in zip(*curves, strict=True):
        for name in ("hidden_errors", "attention_divergences"):
            assert actual[name] == pytest.approx(expected[name], rel=1e-3)
    assert_same_weights(small, tmp_path / "out", tolerance=5e-4)


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        *MISTAKES,
        (
            ["--shards", "s", "--output", "o", "--layers", 5],
            "num_hidden_layers 5: expected at most",
        ),
        (
            ["--shards", "s", "--output", "o", "--groups", 3],
            "q_groups=3 does not divide 32 channels",
        ),
        (
            ["--shards", "s", "--output", "o", "--feed-forward", 128],
            "intermediate_size 128: expected",
        ),
        (
            ["--shards", "s", "--output", "o", "--preset", "squeezebert-tiny"],
            "preset squeezebert-tiny: hidden_size is 128, the teacher's is 32",
        ),
        (
            ["--shards", "s", "--output", "o", "--preset", "squeezebert-tiny", "--groups", 2],
            "preset and groups: the preset has its own",
        ),
        (["--shards", "s", "--output", "o", "--held-out", 0], "held_out 0.0: expected per cent"),
        (
            ["--text", "t", "--output", "o", "--attention-weight", -1],
            "attention_weight -1.0: expected",
        ),
    ],
)
def test_bad_flags(flags, match, teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rejects(match, "squeeze", "--teacher", teacher, *flags)
    assert not listing(tmp_path)


def test_a_teacher_of_another_vocabulary(teacher, shards, tmp_path):
    model = sqb_tf.load(teacher)
    tokens = [*VOCABULARY[:-1], "other"]
    sqb_tf.save(model, tmp_path / "other", tokenizer=WordPieceTokenizer(tokens))
    flags = ["--teacher", tmp_path / "other", "--shards", shards, "--output", tmp_path / "out"]
    rejects("its vocabulary is not that of .*other: make them with this", "squeeze", *flags)


def test_a_teacher_without_attention(shards, tmp_path):
    model = heads.SqueezeBertEmbedder(tiny_config(token_mixer="separable_conv"))
    sqb_tf.save(model, tmp_path / "conv", tokenizer=WordPieceTokenizer(VOCABULARY))
    flags = ["--teacher", tmp_path / "conv", "--shards", shards, "--output", tmp_path / "out"]
    rejects("expected a teacher with self_attention", "squeeze", *flags)
