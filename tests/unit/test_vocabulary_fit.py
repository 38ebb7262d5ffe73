"""sqb_tf.training.vocabulary_fit: texts of another language than the vocabulary's are warned of."""

import pytest

from sqb_tf.checkpoint import bundle
from sqb_tf.data.example import Example
from sqb_tf.data.task import DEMO, Task
from sqb_tf.text.encoder import TextEncoder
from sqb_tf.training.checks import check_finetune
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.vocabulary_fit import warn_if_foreign

GERMAN = (
    "Die Bundesregierung verschiebt die Entscheidung über den Haushalt auf das kommende Frühjahr.",
    "Zwischen beiden Ortschaften verkehrt werktags stündlich ein Regionalzug.",
)
CHINESE = ("北京的天气很好我们去公园散步", "这部电影的情节令人失望演员也不够出色")
ENGLISH = (
    "Don't you love the new timetable? The 7:40 is gone, and so is my patience #commuting",
    "Amortization of the intangible assets began in the fourth quarter.",
)


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder(bundle.read_info("squeezebert-micro").vocabulary, True, 16)


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (GERMAN, "its vocabulary needs 2.6 tokens for a word of these texts: it"),
        (CHINESE, "60% of their tokens are not in its vocabulary: it"),
    ],
)
def test_another_language(texts, reason, encoder, caplog):
    warn_if_foreign(encoder, [Example(text, texts[0]) for text in texts], "--init NAME")
    assert f"--init NAME: {reason} was probably made for another language" in caplog.text


def test_english(encoder, caplog):
    demo = list(Task("classification", DEMO).split("dev"))
    for examples in (demo, [Example(text) for text in ENGLISH], [Example("")], []):
        warn_if_foreign(encoder, examples, "--init NAME")
    assert not caplog.text


@pytest.mark.parametrize(
    ("start", "warned"),
    [({"init": "squeezebert-micro"}, True), ({"preset": "squeezebert-tiny"}, False)],
)
def test_a_fine_tuning_says_so_before_it_starts(start, warned, tmp_path, caplog):
    rows = [f"{text}\t{number}" for number, text in enumerate(GERMAN)]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("\n".join(["text\tlabel", *rows]))
    task = Task("classification", tmp_path)
    check_finetune(task, tmp_path / "output", FinetuneOptions(**start))
    assert ("--init squeezebert-micro: its vocabulary" in caplog.text) == warned
