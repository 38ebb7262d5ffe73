"""What each oddity of a folder of `transformers` gives: the right model, or an error of one line."""

import json
import re

import numpy as np
import pytest
from fixtures.commands import call
from fixtures.hugging_face import change_config, import_error, read_arrays
from fixtures.models import SEQ_LENGTH
from safetensors.numpy import save_file

from sqb_tf.checkpoint import bundle, hugging_face, source
from sqb_tf.errors import InputError
from sqb_tf.text.vocabulary import read_vocabulary

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def grow(folder, rows: int) -> int:
    """Gives the word embeddings `rows` more, as `resize_token_embeddings` does; returns the first id."""
    weights = read_arrays(folder)
    (name,) = (name for name in weights if name.endswith("word_embeddings.weight"))
    first, hidden = weights[name].shape
    more = np.random.default_rng(0).normal(size=(rows, hidden)).astype("f4")
    save_file(
        {**weights, name: np.concatenate([weights[name], more])}, folder / "model.safetensors"
    )
    change_config(folder, vocab_size=first + rows)
    return first


def write_added(folder, form: str, tokens: dict[str, int]) -> None:
    """Lists added tokens in one of the three files that may do so."""
    specials = {
        token: i
        for i, token in enumerate(read_vocabulary(folder / "vocab.txt"))
        if token in SPECIAL
    }
    listed = {**specials, **tokens}
    entries = [{"id": index, "content": token, "special": True} for token, index in listed.items()]
    if form == "added_tokens.json":
        content = tokens
    elif form == "tokenizer_config.json":
        content = {"added_tokens_decoder": {str(entry["id"]): entry for entry in entries}}
    else:
        vocabulary = read_vocabulary(folder / "vocab.txt")
        model = {"type": "WordPiece", "vocab": {token: i for i, token in enumerate(vocabulary)}}
        content = {
            "added_tokens": entries,
            "normalizer": {"type": "BertNormalizer"},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": model,
        }
    (folder / form).write_text(json.dumps(content))


FORMS = ["added_tokens.json", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture
def warnings(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(hugging_face, "warn", lines.append)
    return lines


@pytest.mark.parametrize("form", FORMS)
def test_an_added_word_has_its_own_id(form, hf_folder, warnings):
    """At ff36b52 it was ignored: its text had the ids of pieces."""
    first = grow(hf_folder, 2)
    write_added(hf_folder, form, {"covid": first, "zoonosis": first + 1})
    info = source.read_info(hf_folder)
    assert info.vocabulary[first:] == ["covid", "zoonosis"]
    model = source.load(hf_folder)
    assert model.preprocessor.encoder.ids("Zoonosis of covid")[0] == first + 1
    assert [
        line
        for line in warnings
        if "its added tokens covid, zoonosis are found as whole words" in line
    ]


# name, file, tokens with ids relative to the number of tokens, and the error.
ADDED = [
    (
        "a marker",
        {"[E1]": 0},
        r"has the added tokens \[E1\], which are not one word here: .* --vocab FILE`$",
    ),
    (
        "one of the vocabulary's ids",
        {"[unused0]": 0, "covid": 1},
        r"added tokens \[unused0\], which",
    ),
    (
        "a gap",
        {"covid": 1},
        r"added token 'covid' has id \d+, which contradicts a vocabulary of \d+ tokens",
    ),
    (
        "another token's id",
        {"covid": -3},
        r"added token 'covid' has id \d+, which contradicts a vocabulary",
    ),
]


@pytest.mark.parametrize(("tokens", "message"), [r[1:] for r in ADDED], ids=[r[0] for r in ADDED])
def test_added_tokens_that_cannot_be_kept(tokens, message, hf_folder, tmp_path):
    first = grow(hf_folder, 2)
    write_added(hf_folder, "added_tokens.json", {token: first + i for token, i in tokens.items()})
    assert re.search(message, import_error(hf_folder, tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("added_tokens.json", '{"covid": "x"}', r"added_tokens\.json: .*expected int, got str"),
        ("added_tokens.json", "[1]", r"added_tokens\.json: expected object, got array"),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"x": {"content": "a"}}}',
            r"decoder: x: expec",
        ),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"5": {}}}',
            r"decoder: 5: expected an id",
        ),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"5": {"content": "[CLS]"}}}',
            "id 5, which",
        ),
    ],
)
def test_lists_of_added_tokens_that_are_none(file, content, message, hf_folder, tmp_path):
    (hf_folder / file).write_text(content)
    assert re.search(message, import_error(hf_folder, tmp_path), re.IGNORECASE)


def test_added_tokens_with_two_ids(hf_folder, tmp_path):
    first = grow(hf_folder, 2)
    write_added(hf_folder, "added_tokens.json", {"covid": first})
    write_added(hf_folder, "tokenizer_config.json", {"covid": first + 1})
    assert "'covid' has two ids" in import_error(hf_folder, tmp_path)


def test_two_vocabularies(hf_folder, tmp_path):
    write_added(hf_folder, "tokenizer.json", {})
    source.read_info(hf_folder)  # the same one twice
    tokens = (hf_folder / "vocab.txt").read_text().split("\n")
    (hf_folder / "vocab.txt").write_text("\n".join([*tokens[:-3], tokens[-2], tokens[-3], ""]))
    assert "vocab.txt and tokenizer.json have other tokens" in import_error(hf_folder, tmp_path)


def test_a_marker_may_be_left_out(hf_folder, tmp_path, warnings):
    first = grow(hf_folder, 1)
    write_added(hf_folder, "added_tokens.json", {"[E1]": first})
    flags = ["--vocab", hf_folder / "vocab.txt", "--output", tmp_path / "out"]
    assert call("import_hf", "--source", hf_folder, *flags) == 0
    assert bundle.read_info(tmp_path / "out").vocabulary[first] == f"[unused:{first}]"
    assert [line for line in warnings if "without its added tokens [E1]" in line]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("model_type", ["squeezebert", None])
def test_weights_of_a_module_around_the_model(prefix, model_type, hf_folder, tmp_path):
    weights = {f"{prefix}{name}": array for name, array in read_arrays(hf_folder).items()}
    save_file(weights, hf_folder / "model.safetensors")
    change_config(hf_folder, model_type=model_type)
    message = import_error(hf_folder, tmp_path)
    assert f"the names of all weights begin with {prefix!r}: torch.nn.DataParallel" in message
    assert message.endswith("or remove that from the names")


def test_outputs_without_names_get_those_of_the_data(hf_folder, tmp_path, warnings, capsys):
    change_config(hf_folder, id2label=None)
    output = tmp_path / "out"
    assert call("import_hf", "--source", hf_folder, "--output", output) == 0
    assert bundle.read_info(output).labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert [line for line in warnings if "no names but LABEL_0, LABEL_1, LABEL_2: --labels" in line]
    (tmp_path / "dev.tsv").write_text("text\tlabel\na film\t0\nan end\t2\n")
    flags = ["--data", tmp_path]
    with pytest.raises(
        InputError, match=r"not have: .*; it has LABEL_0, .*`sqb import_hf --labels`"
    ):
        call("evaluate", "--model", output, *flags)
    names = ["--labels", "0", " 1 ", "2", "--overwrite"]
    warnings.clear()
    assert call("import_hf", "--source", hf_folder, "--output", output, *names) == 0
    assert bundle.read_info(output).labels == ["0", "1", "2"] and not warnings
    assert call("evaluate", "--model", output, *flags) == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"], "--labels a, b: expected 3 different names"),
        (["a", "b", "a"], "--labels a, b, a: expected 3 different names"),
        (["a", "b", " "], "expected 3 different names"),
        (["a", "b", "c\u2028d"], "remove the line break in it"),
    ],
)
def test_names_that_do_not_fit(labels, message, hf_folder, tmp_path):
    assert message in import_error(hf_folder, tmp_path, "--labels", *labels)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_weights_that_are_not_finite(value, hf_folder, tmp_path):
    weights = read_arrays(hf_folder)
    name = sorted(weights)[3]
    weights[name] = weights[name].astype("f8")
    weights[name].flat[0] = value  # 1e39 is finite in float64 alone
    save_file(weights, hf_folder / "model.safetensors")
    assert f"{name} has values that are not finite" in import_error(hf_folder, tmp_path)


def test_a_model_that_is_not_finite_is_not_saved(spoiled, tmp_path):
    model = bundle.load(spoiled)
    model.head.bias.assign(np.full(model.head.bias.shape, np.nan))
    with pytest.raises(InputError, match=r"classifier_head/bias has values that are not finite"):
        import sqb_tf

        sqb_tf.save(model, tmp_path / "out", seq_length=SEQ_LENGTH)
    assert not (tmp_path / "out").exists()
