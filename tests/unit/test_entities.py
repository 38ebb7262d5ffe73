"""Entities of plain texts: words with their characters, tags in windows, and what tags say."""

import random

import numpy as np
import pytest
from fixtures.models import VOCABULARY, random_texts

from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.entities import find_entities
from sqb_tf.heads.tag_windows import NOT_HERE, TaggedTrainingWindows, tag_windows, word_scores
from sqb_tf.heads.tags import tag_spans
from sqb_tf.text.encoder import TextEncoder
from sqb_tf.text.plain_words import plain_words

# Accents in both forms, CJK, Hangul, emoji of several code points, marks, what vanishes, what grows.
CHUNKS = [
    *(
        "U.S.",
        "O'Neill's",
        "#Denver,",
        "@a_b:",
        "(Café",
        "re\u0301sume\u0301!",
        "東京is首都!",
        "한국의",
    ),
    *(
        "👩\u200d👩\u200d👧",
        "ﬁn",
        "ǅ",
        "İstanbul's",
        "a\u00adz",
        "e\u0301\u0301.",
        "...",
        "--",
        "¿qué?",
    ),
    *(
        "“Big",
        "Mama”",
        "$5",
        "it\u2019s",
        "\u200b",
        "\u0301",
        "\ufeffx\ufeff",
        "A&E;",
        "ß",
        "ﷺ",
        "नमस्ते।",
    ),
    *(
        "\U0001d504",
        "\U00020000\U0002f800",
        "《红楼梦》",
        "ไทย",
        "'s",
        "''",
        "#",
        "a/b-c.d.",
        "⑴…㍿ﷺ",
        "\U0001f600b",
    ),
]
SPACES = [" ", "  ", "\t", "\u00a0", "\u2003", "\n", "\r\n", "\0", "\u3000", " \u200b "]
both_cases = pytest.mark.parametrize("lowercase", [True, False])


def words_of(encoder: TextEncoder, text: str) -> list[str]:
    return [text[start:end] for start, end in plain_words(encoder, text).spans]


# --- Words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ann Smith (Oslo) isn't in the U.S.", "Ann Smith Oslo isn't in the U.S."),
        ("  Mr. O'Neill's\u00a0boat:\tAmazon.com. ", "Mr O'Neill boat Amazon.com"),
        ("#Denver, @ann_b: # 1, e.g.", "#Denver @ann_b 1 e.g."),
        (
            "“Big Mama”, it\u2019s 4.5. al-Ann -- players' U.S.'s",
            "Big Mama it 4.5 al-Ann players U.S.",
        ),
        ("東京is首都。《红》", "東 京 is 首 都 红"),
        ("한국, e\u0301\u0301. \u00ada\u00adz!", "한국 e\u0301\u0301 a\u00adz"),
        ("... -- '' \u200b 's", "s"),
        ("München… ⑴ ㍿東 ½ ℀", "München ⑴ ㍿ 東 ½ ℀"),
        ("", ""),
    ],
)
def test_words_by_hand(text, expected):
    assert words_of(TextEncoder(VOCABULARY, True, 32), text) == expected.split()


@both_cases
def test_words_do_not_depend_on_the_spacing(lowercase):
    """Each chunk has the same words alone as in a text, whatever white space is between them."""
    encoder, rng = TextEncoder(VOCABULARY, lowercase, 32), random.Random(0)
    alone = {chunk: plain_words(encoder, chunk).spans for chunk in CHUNKS}
    for _ in range(300):
        text, expected = rng.choice(["", *SPACES]), []
        for chunk in rng.choices(CHUNKS, k=rng.randint(1, 9)):
            expected += [(len(text) + start, len(text) + end) for start, end in alone[chunk]]
            text += chunk + rng.choice(SPACES)
        words = plain_words(encoder, text)
        assert [tuple(span) for span in words.spans] == expected, repr(text)
        assert words.ids.tolist() == encoder.ids(text)
        assert (np.diff(words.first) > 0).all()


@both_cases
def test_words_of_any_characters(lowercase):
    """Spans are in order, and begin and end with tokens of their words: of all of Unicode."""
    encoder, rng = TextEncoder(VOCABULARY, lowercase, 32), random.Random(1)
    highest = (0x7F, 0x250, 0x3000, 0x10000, 0x20000, 0x110000)
    for _ in range(3000):
        codes = [int(rng.random() * rng.choice(highest)) for _ in range(rng.randint(1, 30))]
        text = "".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000) + rng.choice(CHUNKS)
        words = plain_words(encoder, text)
        starts, ends = words.spans.T
        assert (
            (starts < ends).all() and (ends[:-1] <= starts[1:]).all() and (ends <= len(text)).all()
        )
        ids, offsets = encoder.with_offsets(text)
        assert words.ids.tolist() == ids.tolist()
        assert encoder.begins_word[ids[words.first]].all()
        assert starts.tolist() == offsets[words.first, 0].tolist()
        assert set(ends) <= set(offsets[:, 1])


def test_lone_surrogates_are_refused():
    with pytest.raises(InputError, match=r"lone surrogate U\+D800"):
        plain_words(TextEncoder(VOCABULARY, True, 32), "a \ud800")


# --- Tags ----------------------------------------------------------------------------------------


def test_tags_are_read_as_seqeval_reads_them():
    """BIO and BIOES, whole or broken, so that a report counts what `entity_f1` does."""
    from seqeval.metrics.sequence_labeling import get_entities

    rng = random.Random(2)
    for prefixes in ("BI", "BIES"):
        tags = ["O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in ("X", "new-work"))]
        for _ in range(3000):
            chosen = rng.choices(tags, k=rng.randint(0, 8))
            assert tag_spans(chosen) == get_entities(chosen), chosen


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-X I-X O I-Y", [("X", 0, 1), ("Y", 3, 3)]),  # begun by an I
        ("B-X I-Y I-Y", [("X", 0, 0), ("Y", 1, 2)]),  # of another type
        ("B-X B-X I-X", [("X", 0, 0), ("X", 1, 2)]),
        ("S-X E-X I-X E-X S-X", [("X", 0, 0), ("X", 1, 1), ("X", 2, 3), ("X", 4, 4)]),
        ("U-X U-X B-X L-X I-X", [("X", 0, 0), ("X", 1, 1), ("X", 2, 3), ("X", 4, 4)]),
        ("PER PER O ORG LOC", [("PER", 0, 1), ("ORG", 3, 3), ("LOC", 4, 4)]),
        ("B I O", [("_", 0, 1)]),
        ("O", []),
    ],
)
def test_tags_are_repaired(tags, expected):
    assert tag_spans(tags.split()) == expected


def test_entities_by_hand():
    text = "Dr. Ann  Smith,Jr sails"
    spans = np.array([[0, 2], [4, 7], [9, 14], [15, 17], [18, 23]])
    labels = ["O", "B-PER", "I-PER"]
    probabilities = np.array(
        [[0.9, 0.1, 0], [0, 0.8, 0.2], [0.1, 0.3, 0.6], [0.5, 0, 0.5], [0.2, 0.1, 0.7]]
    )
    result = find_entities(text, labels, spans, probabilities)
    (name, other) = result.entities
    assert (name.entity, name.text, name.start, name.end) == ("PER", "Ann  Smith", 4, 14)
    assert name.score == pytest.approx(0.7)
    assert other.text == "sails" and other.score == pytest.approx(0.7)
    assert result.line(text, None) == "Dr. [Ann  Smith: PER 0.70],Jr [sails: PER 0.70]"


# --- Windows -------------------------------------------------------------------------------------

TEXTS = [
    *random_texts(30, seed=4),
    "a film was good " * 60,
    "\u200d bad \u200d" + " the filmed plot" * 20,
    f"the end {'unfilmed' * 12} was {'z' * 90}",  # words longer than a window
    "",
    "\u200d",
]


@pytest.mark.parametrize("seq_length", [5, 8, 16, 33, 512])
def test_each_word_is_tagged_once_and_where_it_has_the_most_context(seq_length):
    encoder, longest = TextEncoder(VOCABULARY, True, seq_length), 0
    for text in TEXTS:
        ids, first = encoder.words(text)
        windows = tag_windows(encoder, ids, first)
        longest = max(longest, len(windows))
        (all_ids,) = encoder.with_seq_length(4096).inputs(text)["input_word_ids"]
        if len(all_ids) <= seq_length:
            assert len(windows) == 1
            assert windows[0].inputs["input_word_ids"][0].tolist() == all_ids.tolist()
        assert (
            sorted(np.concatenate([w.words for w in windows]))
            == np.flatnonzero(first >= 0).tolist()
        )
        begins = [first[w.words] + 1 - w.positions for w in windows]
        held = []
        for window, begin in zip(windows, begins, strict=True):
            row = window.inputs["input_word_ids"][0]
            assert len(row) <= seq_length and len(set(begin)) <= 1
            assert row[window.positions].tolist() == ids[first[window.words]].tolist()
            if len(begin):
                held.append((begin[0], begin[0] + len(row) - 2))
        for begin, window in zip(begins, windows, strict=True):
            for word in window.words:
                contexts = [min(first[word] - b, e - 1 - first[word]) for b, e in held]
                end = begin[0] + len(window) - 2
                assert min(first[word] - begin[0], end - 1 - first[word]) == max(contexts)
    assert longest > 1 or seq_length == 512


@pytest.mark.parametrize("marks", [0, 1, 30, 31, 75])
def test_marks_before_the_first_word_and_behind_the_last(marks):
    """They are tokens without a word: more than fit an input, at either end."""
    encoder = TextEncoder(VOCABULARY, True, 33)
    text = f"{'! ' * marks}the film {'! ' * marks}"
    plain = plain_words(encoder, text)
    windows = tag_windows(encoder, plain.ids, plain.first)
    assert sorted(np.concatenate([w.words for w in windows])) == [0, 1]
    for window in windows:
        row = window.inputs["input_word_ids"][0]
        assert len(row) <= 33
        assert row[window.positions].tolist() == plain.ids[plain.first[window.words]].tolist()


@pytest.mark.parametrize("seq_length", [8, 33])
def test_each_word_is_learned_where_it_will_be_tagged(seq_length):
    """A training window is a text of its own, with the ids of the window in which its words are tagged."""
    encoder = TextEncoder(VOCABULARY, True, seq_length)
    head = registry.get("token_classification")([str(i) for i in range(400)])
    for text in TEXTS:
        tags = [str(i) for i in range(len(text.split(" ")))]
        example = Example(text, None, " ".join(tags), "name")
        units = list(head.training_units([example], encoder))
        ids, first = encoder.words(text)
        windows = tag_windows(encoder, ids, first)
        assert len(units) == len(windows) == head.count_units(units, 1)
        if len(units) == 1:
            assert units == [example]
            continue
        for unit, window in zip(units, windows, strict=True):
            row = encoder.inputs(unit.text)["input_word_ids"]
            np.testing.assert_array_equal(row, window.inputs["input_word_ids"])
            learned = [(i, int(t)) for i, t in enumerate(unit.label.split(" ")) if t != NOT_HERE]
            _, own_first = encoder.words(unit.text)
            assert [tag for _, tag in learned] == window.words.tolist()
            assert [1 + own_first[i] for i, _ in learned] == window.positions.tolist()
            assert len(head.target(unit).split(" ")) == len(unit.text.split(" "))


def test_training_windows_can_be_read_again():
    encoder = TextEncoder(VOCABULARY, True, 8)
    units = TaggedTrainingWindows(
        [Example("a film was good " * 9 + "end", None, "O " * 36 + "O")], encoder
    )
    assert len(list(units)) == len(list(units)) > 3


def test_scores_are_those_of_first_tokens():
    encoder = TextEncoder(VOCABULARY, True, 8)
    ids, first = encoder.words("bad filmed " * 9 + "end")
    windows = tag_windows(encoder, ids, first)
    # The score of a token is its id.
    outputs = [{"probabilities": w.inputs["input_word_ids"].T.astype(float)} for w in windows]
    words, scores = word_scores(windows, outputs)
    assert words.tolist() == list(range(19)) and scores[:, 0].tolist() == ids[first].tolist()
