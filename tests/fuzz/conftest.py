"""The valid files that mutants are made of."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from fixtures import reports, tool_logs
from fixtures.device_answers import ANSWERS, SEPARATOR
from fixtures.hostile import unsummed
from fixtures.models import VOCABULARY, documents
from fixtures.paths import GOLDEN


def zipped(folder: Path) -> bytes:
    """The files of a folder as a zip, whose parts mutants change."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.iterdir()):
            if path.is_file():
                archive.write(path, path.name)
    return out.getvalue()


@pytest.fixture(scope="session")
def fuzz_packages(converted) -> list[bytes]:
    """A package of any length, and one of two; without sums, at which most mutants would end."""
    return [unsummed(converted("int8")), unsummed(converted("int8", 16, 32))]


@pytest.fixture(scope="session")
def fuzz_metadata(fuzz_packages) -> list[bytes]:
    """The metadata of packages."""
    from sqb_tflite.package import container, metadata

    return [metadata.build(container.unpack(content).metadata) for content in fuzz_packages]


@pytest.fixture(scope="session")
def fuzz_torch_files() -> list[bytes]:
    """Both formats of torch.save."""
    return [(GOLDEN / "weight_files" / name).read_bytes() for name in ("zip.bin", "legacy.bin")]


@pytest.fixture(scope="session")
def fuzz_bundles(bundle_dir) -> list[bytes]:
    return [zipped(bundle_dir)]


@pytest.fixture(scope="session")
def fuzz_transformers_folders() -> list[bytes]:
    """A classifier with vocab.txt, and the encoder of an embedder with tokenizer.json."""
    folders = ("squeezebert/classification/0", "bert/encoder/0")
    return [zipped(GOLDEN / folder) for folder in folders]


@pytest.fixture(scope="session")
def fuzz_shards(tmp_path_factory) -> list[bytes]:
    from sqb_tf.training.pretraining.options import ShardOptions
    from sqb_tf.training.pretraining.shard_writer import make_shards

    folder = tmp_path_factory.mktemp("shards")
    (folder / "text.txt").write_text(documents(60))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    text, vocabulary = str(folder / "text.txt"), str(folder / "vocab.txt")
    options = ShardOptions(text=(text,), vocabulary=vocabulary, seq_length=16, held_out=20.0)
    make_shards(folder / "shards", options)
    return [zipped(folder / "shards")]


@pytest.fixture(scope="session")
def fuzz_results() -> list[bytes]:
    """A result of few records: mutants change any value in it as likely."""
    result = reports.result()
    del result.records[3:]
    result.records.append(reports.record(reports.HOST, 1, None, "int8"))
    return [json.dumps(result.to_json()).encode()]


@pytest.fixture(scope="session")
def fuzz_recipes() -> list[bytes]:
    return [json.dumps({"*": "int8", "block_0/*": "float32", "pooler": "fp16"}).encode()]


ROWS = [
    ("text", "label"),
    ("a good film", "good"),
    ("not \u00e9t\u00e9", "bad"),
    ("a plot, and more", "2"),
]


@pytest.fixture(scope="session")
def fuzz_tsv() -> list[bytes]:
    return ["".join(f"{text}\t{label}\n" for text, label in ROWS).encode()]


@pytest.fixture(scope="session")
def fuzz_csv() -> list[bytes]:
    return ["".join(f'"{text}",{label}\r\n' for text, label in ROWS).encode()]


@pytest.fixture(scope="session")
def fuzz_jsonl() -> list[bytes]:
    rows = [json.dumps({"text": text, "label": label}) for text, label in ROWS[1:]]
    return ["".join(f"{row}\n" for row in rows).encode(), rows[0].encode()]


@pytest.fixture(scope="session")
def fuzz_squad() -> list[bytes]:
    context = "A film of 1999."
    questions = [
        {"id": "1", "question": "When?", "answers": [{"text": "1999", "answer_start": 10}]},
        {"id": "2", "question": "Why?", "answers": [], "is_impossible": True},
    ]
    paragraphs = [{"context": context, "qas": questions}]
    return [
        json.dumps({"version": "2", "data": [{"title": "x", "paragraphs": paragraphs}]}).encode()
    ]


@pytest.fixture(scope="session")
def fuzz_conll() -> list[bytes]:
    return [b"the O\nfilm B-ART\n\nin O\nParis B-LOC\nTexas I-LOC\n"]


@pytest.fixture(scope="session")
def fuzz_tool_output() -> list[bytes]:
    return [log.encode() for log in (tool_logs.LOG, tool_logs.LITERT)]


@pytest.fixture(scope="session")
def fuzz_device_answers() -> list[bytes]:
    """The number of a question, and its answer."""
    return [
        f"{number}\n{SEPARATOR.join(parts)}".encode() for number, (_, parts) in enumerate(ANSWERS)
    ]


@pytest.fixture(scope="session")
def fuzz_journals(tmp_path_factory) -> list[bytes]:
    """Each kind of line alone, which mutants change as JSON, and both."""
    from sqb_tflite.bench.devices.journal import FILE, Journal

    path = tmp_path_factory.mktemp("journal") / FILE
    Journal(path).add_repeat("a", reports.record(reports.HOST, 1, None, "int8").to_json())
    repeat = path.read_bytes()
    Journal(path).add_failure(reports.result().failures[0])
    both = path.read_bytes()
    return [repeat, both.removeprefix(repeat), both]
