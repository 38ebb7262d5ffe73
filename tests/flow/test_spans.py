"""The parts of question answering: token offsets, windows, decoding."""

import re
import unicodedata

import numpy as np
import pytest
from fixtures.models import (
    LETTERS,
    VOCABULARY,
    random_texts,
    right_answers,
)

from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.span import Answer, Answers, SpanSettings, best_answers
from sqb_tf.heads.windows import Window, answer_positions, check_stride, windows
from sqb_tf.text.encoder import TextEncoder

# Accents, both ways of writing them, CJK, emoji of several code points, ligatures, Hangul, controls.
ODD = (
    "Café  naïve\tre\u0301sume\u0301 İstanbul 東京is首都! 😀👩\u200d👩\u200d👧 ﬁn ǅ ß 한국 a\u00adz "
    "e\u0301\u0301. "
)


@pytest.fixture(scope="module")
def real_encoder(shared_data) -> TextEncoder:
    """With BERT's uncased vocabulary."""
    return TextEncoder(shared_data / "vocab/bert-base-uncased-vocab.txt", True, 128)


# --- Offsets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowercase", [True, False])
def test_offsets_are_of_the_text_as_it_was(lowercase):
    """The slices spell the tokens, after the normalization that BERT does."""
    encoder = TextEncoder(VOCABULARY, lowercase, 32)
    text = "The film\t was  É e\u0301d, not\u00adgood!?"
    ids, offsets = encoder.with_offsets(text)
    assert ids.tolist() == encoder.ids(text)
    for token, (start, end) in zip(ids, offsets, strict=True):
        spelled = encoder.vocabulary[token].removeprefix("##")
        there = text[start:end].replace("\u00ad", "")
        if lowercase:
            there = unicodedata.normalize("NFD", there.lower()).replace("\u0301", "")
        assert spelled in (there, "[UNK]")


def test_odd_characters_are_in_one_piece():
    encoder = TextEncoder([*VOCABULARY, "東", "ᄒ", "##ᅡ", "##ᆫ"], True, 32)
    for text in (ODD, "東x京", "한", "é" * 3, "", " \u200d "):
        ids, offsets = encoder.with_offsets(text)
        assert len(ids) == len(offsets)
        assert (offsets[:, 0] < offsets[:, 1]).all() and (np.diff(offsets, axis=0) >= 0).all()
        pieces = {text[start:end] for start, end in offsets}
        assert not any(unicodedata.combining(piece[0]) for piece in pieces)
    _, offsets = encoder.with_offsets("x 한")
    assert offsets.tolist() == [[0, 1], [2, 3], [2, 3], [2, 3]]
    _, offsets = encoder.with_offsets("a re\u0301! 😀b")
    assert offsets.tolist() == [[0, 1], [2, 3], [3, 5], [5, 6], [7, 9]]


def test_real_answers_are_recoverable_from_offsets(squad_dev, real_encoder):
    """All but the answers that begin or end within a one-token word."""
    tokens = {pair: real_encoder.with_offsets(pair)[1] for pair in {e.pair for e in squad_dev}}
    answers = within = 0
    for example in squad_dev:
        offsets = tokens[example.pair]
        for start, text in right_answers(example):
            answers += 1
            end = start + len(text)
            if start in offsets[:, 0] and end in offsets[:, 1]:
                continue
            within += 1
            ends = [
                (offsets[:, 0] < position) & (position < offsets[:, 1]) for position in (start, end)
            ]
            covering = offsets[np.any(ends, axis=0)]
            assert len(covering), text
            assert all(re.fullmatch(r"\S\S+", example.pair[i:j]) for i, j in covering)
    assert (answers, within) == (34_726, 77)


# --- Windows -------------------------------------------------------------------------------------


def check_windows(encoder: TextEncoder, rows: list, stride: int) -> list[list[Window]]:
    """Windows hold every token of their contexts, in inputs of the right form, and are texts themselves."""
    cut = windows(encoder, rows, stride)
    for (question, context), parts in zip(rows, cut, strict=True):
        ids, offsets = encoder.with_offsets(context)
        positions = {tuple(span): i for i, span in reversed(list(enumerate(offsets.tolist())))}
        end = 0
        for window in parts:
            assert len(window) <= encoder.seq_length
            assert window.first + len(window.offsets) == len(window) - 1
            begin = positions[tuple(window.offsets[0])] if len(window.offsets) else 0
            assert begin <= end  # no gap
            end = begin + len(window.offsets)
            np.testing.assert_array_equal(window.offsets, offsets[begin:end])
            word_ids = window.inputs["input_word_ids"][0]
            np.testing.assert_array_equal(word_ids[window.first : -1], ids[begin:end])
            # The training pipeline tokenizes a window as a text of its own.
            part = context[window.offsets[0, 0] : window.offsets[-1, 1]] if end > begin else ""
            expected = encoder.inputs(question[: window.question_end], part)
            for name, values in expected.items():
                np.testing.assert_array_equal(window.inputs[name], values)
        assert end == len(ids)
    return cut


@pytest.mark.parametrize(("seq_length", "stride"), [(5, 1), (12, 3), (20, 6), (32, 15), (64, 128)])
def test_windows_hold_all_of_the_context(seq_length, stride):
    encoder = TextEncoder(VOCABULARY, True, seq_length)
    contexts = [
        text if len(text) < 4 else text + "."
        for text in random_texts(40, seed=3)
        if seq_length > 8 or max(map(len, text.split())) < 2
    ] or ["a . a . a"]
    rows = [(question, context) for context in contexts for question in ("the end?", "is it?")]
    cut = check_windows(encoder, rows, stride)
    assert (max(map(len, cut)) > 1) == (seq_length < 64)


@pytest.mark.slow
def test_windows_of_real_contexts(squad_dev, real_encoder):
    rows = [(e.text, e.pair) for e in squad_dev[::10]]
    check_windows(real_encoder, rows, 42)


def test_window_steps_are_at_most_the_stride():
    encoder = TextEncoder(VOCABULARY, True, 13)
    ((first, *middle, last),) = windows(encoder, [("is it?", "a film was good " * 8)], 3)
    # [CLS] is i ##t ? [SEP], then 6 of 32 words, from every third on.
    assert first.first == 6 and len(first.offsets) == 6 and len(middle) == 8
    assert [w.offsets[0, 0] for w in (first, *middle)][:4] == [0, 11, 23, 32 + 2]
    assert last.offsets[-1, 1] == 8 * 16 - 1


def test_long_questions_and_words_are_truncated():
    encoder = TextEncoder(VOCABULARY, True, 16)
    question, word = "is it a good film or a bad one?", "".join(LETTERS[:20])
    context = f"a {word} end"
    (parts,) = windows(encoder, [(question, context)], None)
    assert [len(window) for window in parts] == [10, 16, 10]
    kept = question[: parts[0].question_end]
    assert question.startswith(kept) and len(kept) < len(question)
    assert parts[0].first == len(encoder.ids(kept)) + 2
    texts = [context[w.offsets[0, 0] : w.offsets[-1, 1]] for w in parts]
    assert texts[0] == "a" and texts[2] == "end"
    assert word.startswith(texts[1]) and len(parts[1].offsets) == 16 - 1 - parts[1].first


def test_strides_that_leave_text_out():
    assert (check_stride(384, None), check_stride(60, None), check_stride(384, 300)) == (
        128,
        20,
        300,
    )
    for stride in (0, -1, 318):
        with pytest.raises(InputError, match=f"doc_stride {stride}: expected 1 to 317, .* 384"):
            check_stride(384, stride)


@pytest.mark.slow
def test_targets_are_the_tokens_of_the_answer(squad_dev, real_encoder):
    """Joined, they are the answer with the rest of its first and last word."""
    head = registry.get("span")((), True, {"doc_stride": 42})
    examples = squad_dev[::25]
    contexts = {e.id: e for e in examples}
    held = set()
    for row in head.training_units(examples, real_encoder):
        first, last = head.target(row)
        if (first, last) == (0, 0):
            continue
        held.add(row.id)
        _, answer = right_answers(contexts[row.id])[0]
        ids = real_encoder.inputs(row.text, row.pair)["input_word_ids"][0]
        assert 0 < first <= last < len(ids) - 1
        pieces = [real_encoder.vocabulary[i].removeprefix("##") for i in ids[first : last + 1]]
        expected = real_encoder.ids(answer)
        spelled = "".join(real_encoder.vocabulary[i].removeprefix("##") for i in expected)
        assert spelled.replace("[UNK]", "") in "".join(pieces) or "[UNK]" in pieces
    missed = contexts.keys() - held
    assert len(missed) < 0.01 * len(contexts)  # longer than what two windows share


def test_a_window_that_cuts_the_answer_aims_at_cls():
    window = Window({}, 4, np.array([[10, 14], [15, 18], [19, 23]]), np.ones(3, bool), 1)
    assert answer_positions(window, 15, "was") == (5, 5)
    assert answer_positions(window, 10, "film was good") == (4, 6)
    assert answer_positions(window, 14, " was ") == (5, 5)
    assert answer_positions(window, 9, "a film") == (0, 0)
    assert answer_positions(window, 19, "good end") == (0, 0)
    assert answer_positions(window, 40, "end") == (0, 0)
    head, encoder = registry.get("span")(), TextEncoder(VOCABULARY, True, 32)
    for answers, expected in (("[]", [0, 0]), ('[[2, "film"], [0, "a"]]', [6, 6])):
        # [CLS] is i ##t [SEP] a film [SEP]
        (row,) = head.training_units([Example("is it", "a film", answers, "1")], encoder)
        assert head.target(row) == expected


# --- Decoding ------------------------------------------------------------------------------------

CONTEXT = "the film was good"
OFFSETS = np.array([[0, 3], [4, 8], [9, 12], [13, 17]])
WORDS = np.ones(4, bool)


def span_outputs(start: list[float], end: list[float]) -> dict[str, np.ndarray]:
    """Outputs for [CLS], two tokens, the context and [SEP]; those to be ignored are the highest."""
    return {
        "start_logits": np.array([start[0], 99, 99, *start[1:], 99], np.float32),
        "end_logits": np.array([end[0], 99, 99, *end[1:], 99], np.float32),
    }


def best(start: list[float], end: list[float], **settings):
    window = Window({}, 3, OFFSETS, WORDS, 5)
    return best_answers(CONTEXT, [window], [span_outputs(start, end)], SpanSettings(**settings))


def test_best_spans_by_hand():
    answers = best([0, 0, 5, 1, 0], [0, 6.5, 0, 1, 4], n_best=3)
    assert [(a.text, a.start, a.end) for a in answers] == [
        ("film was good", 4, 17),  # 5 + 4; the end at "the", 6.5, is before it
        ("the", 0, 3),  # 0 + 6.5
        ("film was", 4, 12),  # 5 + 1
    ]
    weights = np.exp([9, 6.5, 6])
    np.testing.assert_allclose([a.score for a in answers], weights / weights.sum(), rtol=1e-5)
    (short, *_) = best([0, 0, 5, 1, 0], [0, 6.5, 0, 1, 4], max_answer_length=2)
    assert short.text == "the"
    only = best([0, 0, 5, 1, 0], [0, 6.5, 0, 1, 4], n_best=1)
    assert [(a.text, a.score) for a in only] == [("", 1.0)]  # the best end is before the best start


def test_answers_begin_and_end_where_words_do():
    """Of `un ##known films` the best pair of tokens is `##known` alone."""
    text, offsets = "unknown films", np.array([[0, 2], [2, 7], [8, 13]])
    window = Window({}, 3, offsets, np.array([True, False, True]), 5)
    outputs = [span_outputs([0, 1, 5, 0], [0, 2, 5, 1])]
    whole = best_answers(text, [window], outputs, SpanSettings())
    assert [(a.text, a.start, a.end) for a in whole] == [
        ("unknown", 0, 7),  # 1 + 5
        ("unknown films", 0, 13),  # 1 + 1
        ("films", 8, 13),  # 0 + 1
    ]
    pieces = best_answers(text, [window], outputs, SpanSettings(exact_tokens=True))
    assert pieces[0].text == "known"
    assert {a.text for a in pieces} - {a.text for a in whole} == {"known", "known films", "un"}


def test_the_empty_answer_wins_by_the_threshold():
    logits = [3, 0, 5, 0, 0], [3.5, 0, 4, 0, 0]  # 6.5 against 9
    assert best(*logits, null_threshold=0.0)[0].text == "film"
    assert best(*logits, null_threshold=-2.4)[0].text == "film"
    answers = best(*logits, null_threshold=-2.6)
    assert (answers[0].text, answers[0].start, answers[0].end) == ("", 0, 0)
    assert answers[1].text == "film" and answers[0].score < answers[1].score
    assert "" not in [a.text for a in best(*logits)]
    assert sum(a.score for a in answers) == pytest.approx(1)


def test_the_better_window_wins():
    """A span in both windows keeps the better score, the empty answer the lower one."""
    parts = [
        Window({}, 3, OFFSETS[:3], WORDS[:3], 1),
        Window({}, 3, OFFSETS[1:], WORDS[1:], 1),
    ]
    outputs = [span_outputs([4, 0, 2, 0], [4, 0, 2, 0]), span_outputs([1, 3, 0, 1], [1, 1, 0, 3])]
    settings = SpanSettings(null_threshold=0.0)
    answers = best_answers(CONTEXT, parts, outputs, settings)
    assert answers[0].text == "film was good"
    scores = {a.text: np.log(a.score / answers[0].score) + 6 for a in answers}
    assert scores["film"] == pytest.approx(4) and scores[""] == pytest.approx(2)
    assert len({(a.start, a.end) for a in answers}) == len(answers)


def test_decoding_is_a_search_of_all_pairs():
    rng = np.random.default_rng(0)
    text = " ".join("abcdefghij")
    offsets = np.array([[2 * i, 2 * i + 1] for i in range(10)])
    window = Window({}, 3, offsets, np.ones(10, bool), 5)
    for _ in range(20):
        start, end = rng.normal(size=(2, 11))
        settings = SpanSettings(max_answer_length=4, n_best=10)
        answers = best_answers(text, [window], [span_outputs(start, end)], settings)
        pairs = {
            text[2 * i : 2 * j + 1]: start[1 + i] + end[1 + j]
            for i in range(10)
            for j in range(i, min(i + 4, 10))
        }
        assert [a.text for a in answers] == sorted(pairs, key=pairs.get, reverse=True)[:10]


@pytest.mark.parametrize("setting", ["doc_stride", "max_answer_length", "n_best"])
def test_settings_are_checked(setting):
    with pytest.raises(InputError, match=f"{setting} 0: expected at least 1"):
        SpanSettings(**{setting: 0})
    with pytest.raises(InputError, match="max_answer_length: a classification has no such setting"):
        registry.get("classification")().update_settings({"max_answer_length": 3})


def test_an_answer_that_ties_with_the_best_is_as_good():
    """An answer within 0.1 logits of the model's best one counts as the same."""
    first, near, far = Answer("a b", 0.5, 0, 3), Answer("b", 0.46, 2, 3), Answer("a", 0.04, 0, 1)
    keras = Answers((first, near, far))

    def same(*answers: Answer) -> list[bool]:
        return registry.get("span")().same_decisions(keras, Answers(answers))

    assert same(first, near) == same(near, first) == [True, True]
    assert same(far, first) == [True, False]
    assert same(Answer("c", 1.0, 4, 5)) == [False, False]
