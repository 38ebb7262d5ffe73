"""Models with random weights, for measurements that do not depend on training: speed and size."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqb_tf.config import SqueezeBertConfig

# Real data and BERT's vocabulary beside the repository; relative, since results name the path.
SHARED_DATA = Path(os.path.relpath(Path(__file__).resolve().parents[2] / "shared" / "data"))
BERT_VOCABULARY = SHARED_DATA / "vocab" / "bert-base-uncased-vocab.txt"


def random_bundle(directory: str | Path, preset: str, seq_length: int = 128) -> None:
    """A bundle of `preset` for the demo's labels and texts of at most `seq_length` tokens.

    It has BERT's vocabulary, so that texts have realistic token counts; if that is not available, one learned
    from the demo and padded to the preset's size.
    """
    import keras

    import sqb_tf
    from sqb_tf.checkpoint import bundle
    from sqb_tf.data.task import DEMO, Task
    from sqb_tf.survey.survey import survey
    from sqb_tf.text.tokenizer import learn_vocabulary
    from sqb_tf.text.vocabulary import read_vocabulary

    config = sqb_tf.SqueezeBertConfig.from_preset(preset)
    if BERT_VOCABULARY.is_file():
        vocabulary = read_vocabulary(BERT_VOCABULARY)
    else:
        texts = [example.text for example in Task("classification", DEMO).split("train")]
        vocabulary = learn_vocabulary(texts, 4000)
        vocabulary += [f"[unused{i}]" for i in range(config.vocab_size - len(vocabulary))]
    keras.utils.set_random_seed(0)
    task = Task("classification", DEMO, limit=64)
    labels = survey(Task("classification", DEMO)).labels
    model = sqb_tf.SqueezeBertClassifier(config, num_labels=len(labels))
    info = bundle.TaskInfo(
        "classification", "classification", False, seq_length, True, {}, str(DEMO), "random"
    )
    sample = list(task.split("train"))
    contents = bundle.BundleContents(model, vocabulary, labels, info, sample, sample)
    bundle.write(directory, contents)


def untrained_package(config: SqueezeBertConfig, recipe: str) -> bytes:
    """A package of a classifier with two labels and BERT's vocabulary."""
    import keras

    import sqb_tf
    from sqb_tf.data.task import DEMO, Task
    from sqb_tf.text.tokenizer import WordPieceTokenizer
    from sqb_tflite import convert

    keras.utils.set_random_seed(0)
    model = sqb_tf.SqueezeBertClassifier(config, num_labels=2)
    texts = [example.text for example in Task("classification", DEMO, limit=64).split("train")]
    tokenizer = WordPieceTokenizer(BERT_VOCABULARY)
    return convert(
        model, recipe, calibration=texts, tokenizer=tokenizer, labels=["negative", "positive"]
    )
