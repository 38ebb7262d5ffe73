"""sqb_tf.survey: what is found in a data set, and what it costs to find it."""

import importlib
import json
import re
import shlex

import numpy as np
import pytest
from fixtures.commands import call

from sqb_tf.checkpoint import bundle
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.task import DEMO, Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.survey import findings, split_survey
from sqb_tf.survey.report import histogram, make_report
from sqb_tf.survey.seen_texts import SeenTexts
from sqb_tf.survey.survey import survey
from sqb_tf.survey.tokens import measure
from sqb_tf.text.encoder import TextEncoder
from sqb_tf.training import checks
from sqb_tf.training.options import FinetuneOptions

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


def tokens_of(examples, encoder, head="classification", paired=False):
    return measure(examples, registry.get_task_head(head)((), paired), encoder)


def write(folder, **splits: list[str]) -> Task:
    """A task of `text label` rows, by split."""
    for split, rows in splits.items():
        lines = ["text\tlabel", *(row.replace(" = ", "\t") for row in rows)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Task("classification", folder)


def texts(task: Task, encoder, seq_length: int = 16) -> list[str]:
    """What is found, by severity."""
    report = make_report(task, encoder, seq_length, ("--init", "NAME"))
    return [f"{finding.severity}: {finding.text}" for finding in report.findings]


GOOD = [f"{word} number {i} = {word}" for word in ("red", "blue") for i in range(20)]


@pytest.mark.parametrize(
    ("rows", "finding"),
    [
        (
            ["a red one = red", "A red one  = blue"],
            r"warning: .*train.tsv: 1 text with different labels",
        ),
        (
            ["twice = red"] * 3,
            r"warning: .*train.tsv: 4.7% of the rows repeat the text of an earlier",
        ),
        (
            ["blue number 7 = blue", "dev 1 = red"],
            r"warning: 50.0% of dev's texts stand in train too",
        ),
        (
            ["rare = green"],
            r"warning: 1 class with fewer than 10 rows in train: green \(1\): add rows",
        ),
        (
            ["a = green"] * 11,
            r"warning: dev has no row of green: nothing will be known .* tells it",
        ),
        (["fine = Red", "good = RED "], r"warning: labels that look alike: 'red', 'Red', 'RED'"),
        (["fine = 1", "good = 1.0"], r"warning: labels that look alike: '1', '1.0': are they one"),
        (["a = red|blue", "b = blue|red"], r"warning: 2 labels with '\|' in it: each combination"),
        (["<p>a</p> = red", "x &amp; y = red"], r"warning: .*train.tsv: 2 of 42 texts with HTML"),
        (["schÃ\xb6n = red"], r"warning: .*: 1 of 41 texts with characters of another encoding"),
        (["42 = red"], r"warning: .*train.tsv: 1 of 41 texts without a letter"),
        (
            ["a " * 20 + "= red"],
            r"warning: 2.4% .* cut at --seq-length 16: --seq-length 32 cuts none",
        ),
        ([" = red"], r"error: .*train.tsv: 1 row cannot be read: correct or remove"),
        (["one cell"], r"error: .*train.tsv: 1 row cannot be read"),
    ],
)
def test_what_is_found(rows, finding, encoder, tmp_path):
    dev = ["dev 1 = red", "dev 2 = blue"]
    if "dev" in finding and "no row" not in finding:
        train, dev = GOOD, rows
    else:
        train = GOOD + rows
    found = texts(write(tmp_path, train=train, dev=dev), encoder)
    assert [text for text in found if re.match(finding, text)], found


@pytest.mark.parametrize(
    ("header", "row", "labels"),
    [
        ("text,label", "{text},{label}", ("good", "bad")),
        ("label,text", "{label},{text}", ("good", "bad")),
        ("text,label", "{text},{label}", ("1.5", "2")),
    ],
)
def test_rows_that_a_stray_quote_swallows(header, row, labels, encoder, tmp_path):
    """Its cell ends at the next quote before a comma: no error, and 20 examples fewer."""
    rows = [
        row.format(text=f"film {word} {i}", label=label)
        for i in range(30)
        for word, label in zip("xy", labels, strict=True)
    ]
    rows[7] = row.format(text='"film 7', label=labels[1])
    rows[27] = row.format(text='film 27"', label=labels[0])
    path = tmp_path / "reviews.csv"
    rows.append(row.format(text='"of lines\nthat are none, and\nno rows"', label=labels[0]))
    path.write_text("\n".join([header, *rows]) + "\n")
    task = Task("regression" if "2" in labels else "classification", path)
    found = texts(task, encoder)
    assert [
        text for text in found if re.search("1 text of several lines that look like rows", text)
    ]


def test_good_data_has_notes_alone(encoder, tmp_path):
    task = write(tmp_path, train=GOOD, dev=["dev 1 = red", "dev 2 = blue", "dev 3 = blue"])
    assert texts(task, encoder) == ["note: always answering blue has a dev accuracy of 0.667"]


def test_numbers_as_labels_are_noted(encoder, tmp_path):
    rows = [f"text {i} = {i % 25}" for i in range(500)]
    task = write(tmp_path, train=rows, dev=rows[:100])
    assert "note: every label is a number: --task regression learns their order" in texts(
        task, encoder
    )


def test_labels_without_end_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(split_survey, "MOST_LABELS", 50)
    task = write(tmp_path, train=[f"text {i} = {i}" for i in range(60)], dev=GOOD)
    with pytest.raises(InputError, match=r"train\.tsv: more than 50 labels: .*--task regression"):
        survey(task)


def test_texts_are_counted_exactly_until_memory_is_full():
    exact, sampled = SeenTexts(), SeenTexts(capacity=200)
    rng = np.random.default_rng(0)
    rows = [(f"text {n}", str(n % 3)) for n in rng.integers(0, 3000, 6000)]
    for text, label in [*rows, ("text 1", "other")]:
        exact.offer(text, label)
        sampled.offer(text, label)
    distinct = len({text for text, _ in rows})
    assert (exact.scale, exact.repeated, exact.conflicting) == (1, 6001 - distinct, 1)
    assert "Text 1 " in exact and "text 3001" not in exact
    assert sampled.scale == 16
    assert sampled.repeated == pytest.approx(exact.repeated, rel=0.25)  # 130 texts: 2 deviations


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (GERMAN, "its vocabulary needs 2.6 tokens for a word of these texts: it"),
        (CHINESE, "60% of their tokens are not in its vocabulary: it"),
    ],
)
def test_another_language(samples, reason, encoder):
    examples = [Example(text, samples[0]) for text in samples]
    (finding,) = findings.foreign_vocabulary(
        tokens_of(examples, encoder, paired=True), "--init NAME"
    )
    assert finding.text.startswith(f"--init NAME: {reason} was probably made for another language")


def test_english(encoder):
    demo = list(Task("classification", DEMO).split("dev"))
    for examples in (demo, [Example(text) for text in ENGLISH], [Example("")]):
        assert not list(findings.foreign_vocabulary(tokens_of(examples, encoder), "--init NAME"))
    assert tokens_of([], encoder) is None


def test_lengths_are_those_of_the_inputs(encoder):
    single = tokens_of([Example("fine"), Example("fine and good")], encoder)
    assert single.lengths.tolist() == [3, 5] and not single.windows
    assert (single.longer_than(3), single.percentile(100)) == (0.5, 5)
    choices = tokens_of([Example("she", "goes\tgoes far away")], encoder, "multiple_choice", True)
    assert choices.lengths.tolist() == [7] and not choices.windows  # of the longest choice
    answers = tokens_of([Example("who?", "a word " * 200)], encoder, "span", True)
    assert answers.windows and answers.lengths.tolist() == [405]
    assert findings.suggested_length(answers) == 384
    assert tokens_of([Example("a word", label="O O")], encoder, "token_classification").windows


def test_a_histogram_has_every_text():
    lengths = np.array([1, 2, 3, 40, 41, 300])
    bars = histogram(lengths)
    assert sum(count for _, _, count in bars) == len(lengths) and len(bars) <= 16
    assert bars[0] == (1, 19, 3) and bars[-1][0] <= 300 <= bars[-1][1]
    assert histogram(np.array([3])) == [(1, 1, 0), (2, 2, 0), (3, 3, 1)]


@pytest.mark.parametrize(
    ("start", "warned"),
    [({"init": "squeezebert-micro"}, True), ({"preset": "squeezebert-tiny"}, False)],
)
def test_a_fine_tuning_says_so_before_it_starts(start, warned, tmp_path, caplog, monkeypatch):
    logged: list[str] = []
    monkeypatch.setattr(checks, "log", logged.append)
    rows = [f"{text} = {i}" for i, text in enumerate(GERMAN)]
    task = write(tmp_path, train=rows, dev=rows)
    checks.check_finetune(task, tmp_path / "output", FinetuneOptions(**start))
    assert ("--init squeezebert-micro: its vocabulary" in caplog.text) == warned
    assert logged[-1].startswith("2 train and 2 dev examples; 2 classes of 1 to 1 train rows")
    assert "100.0% of dev's texts stand in train too" in caplog.text


@pytest.mark.parametrize(("class_weights", "advised"), [(None, True), ("balanced", False)])
def test_what_a_run_does_already_is_not_advised(class_weights, advised, tmp_path, caplog):
    rows = [f"a {i} = common" for i in range(30)] + ["b 1 = rare", "b 2 = rare"]
    task = write(tmp_path, train=rows, dev=["c = common", "d = rare"])
    options = FinetuneOptions(preset="squeezebert-tiny", class_weights=class_weights)
    checks.check_finetune(task, tmp_path / "output", options)
    assert ("--class-weights balanced lets" in caplog.text) == advised
    assert "rare (2): add rows" in caplog.text


def test_the_command_counts_what_training_refuses(tmp_path, capsys):
    path = tmp_path / "reviews.csv"
    rows = [f'"review {i} is {word}",{word}' for i in range(40) for word in ("good", "bad")]
    path.write_text(
        "\n".join(["body,stars", *rows, ",good", '"<script>alert(1)</script>",bad']) + "\n"
    )
    page, json_file = tmp_path / "page.html", tmp_path / "survey.json"
    arguments = ["--data", path, "--text-column", "body", "--label-column", "stars", "--page", page]
    assert call("survey", *arguments, "--json", json_file) == 1
    printed = capsys.readouterr().out
    assert f"error: {path} (train): 1 row cannot be read" in printed
    result = json.loads(json_file.read_text())
    train, dev = result["splits"]["train"], result["splits"]["dev"]
    assert train["rows"] + dev["rows"] == 81 and (train["unreadable"], dev["unreadable"]) == (1, 0)
    assert result["findings"][0]["shown"] == [f"{path}:82: 'body' is empty: expected text"]
    assert f"next: {result['command']}" in printed
    fits = "0.0% are longer than --seq-length 128; 1.00 tokens a word, 0.00% of them unknown to"
    assert fits in printed and fits in page.read_text()
    html = page.read_text()
    assert "<script>alert" not in html and "1 row cannot be read" in html


def test_the_suggested_command_names_what_was_given(encoder, tmp_path):
    task = Task("classification", DEMO, Columns(), 200)
    report = make_report(task, encoder, 8, ("--init", "squeezebert-micro"))
    assert report.suggestions == {"--epochs": 20, "--batch-size": 16, "--seq-length": 32}
    assert report.command == (
        f"sqb finetune --task classification --data {DEMO} --epochs 20 --batch-size 16 --seq-length 32"
    )
    path = tmp_path / "my reviews.csv"
    rows = [f"{word} number {i},{word}" for word in ("good", "bad") for i in range(30)]
    path.write_text("\n".join(["body,label", *rows]) + "\n")
    task = Task("classification", path, Columns("body"), test=20)
    command = make_report(task, encoder, 8, ("--init", "runs/bert")).command
    flags = shlex.split(command)[2:]
    module = importlib.import_module("sqb_tools.finetune")
    args = module.flags().parse_args(flags)
    assert (args.data, args.text_column, args.test, args.init) == (
        str(path),
        "body",
        "20%",
        "runs/bert",
    )


@pytest.mark.parametrize(
    ("name", "content", "task", "count"),
    [
        ("x.tsv", "text\tlabel\n" + "a\tb\tc\n" * 3, "classification", 3),
        (
            "x.jsonl",
            '{"text": "a", "label": 1\n[1]\n{"text": "\\ud800", "label": 1}\n',
            "classification",
            3,
        ),
        ("x.csv", "text,label\n" + "fine,1.5\n" * 30 + "bad,n/a\n" * 4, "regression", 4),
        ("x.jsonl", '{"text": "a", "choices": ["b"], "label": 0}\n', "multiple_choice", 1),
    ],
)
def test_rows_that_training_refuses_are_counted_once(name, content, task, count, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    splits = survey(Task(task, path), tolerant=True).splits.values()
    assert sum(split.unreadable.rows for split in splits) == count
    with pytest.raises(InputError):
        _ = survey(Task(task, path)).labels
