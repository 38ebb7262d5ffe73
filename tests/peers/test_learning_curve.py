"""Fine-tuning on SST-2 follows transformers' PyTorch step by step, from the same imported weights."""

import json
import os
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from fixtures.commands import ROOT

from sqb_tf.checkpoint import bundle, hugging_face, transformers_folder
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.data.task import Task
from sqb_tf.model.heads import SqueezeBertClassifier
from sqb_tf.text.preprocessing import Preprocessor
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.text.vocabulary import read_vocabulary
from sqb_tf.training.optimizer import LinearWarmupDecay, adamw

TORCH = Path(os.environ.get("SQB_TORCH_PYTHON", ROOT / ".venv-torch/bin/python"))
SCRIPT = ROOT / "tests" / "peers" / "learning_curve.py"
STEPS, BATCH, LENGTH = 50, 16, 32


def batches(preprocessor: Preprocessor, task: Task) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs `[steps, batch, length]` of SST-2's first phrases, and label ids `[steps, batch]`."""
    examples = list(task.split("train"))
    inputs = preprocessor([example.text for example in examples])
    padded = {
        name: np.pad(values, [(0, 0), (0, LENGTH - values.shape[1])]).reshape(STEPS, BATCH, LENGTH)
        for name, values in inputs.items()
    }
    labels = np.array([example.label == "positive" for example in examples], np.int32)
    return padded, labels.reshape(STEPS, BATCH)


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.skipif(
    not TORCH.exists(), reason=f"{TORCH} is missing: `make test-all` makes PyTorch's environment"
)
def test_fifty_steps_on_sst2_have_the_losses_of_pytorch(shared_data, tmp_path):
    vocabulary = read_vocabulary(shared_data / "vocab" / "bert-base-uncased-vocab.txt")
    config = SqueezeBertConfig.from_preset(
        "squeezebert-small",
        num_hidden_layers=4,
        vocab_size=len(vocabulary),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,
    )
    keras.utils.set_random_seed(0)
    labels = ["negative", "positive"]
    source = SqueezeBertClassifier(config, num_labels=2)
    info = bundle.TaskInfo("sst2", "classification", False, LENGTH, True, {}, "", "")
    bundle.write(tmp_path / "bundle", bundle.BundleContents(source, vocabulary, labels, info))
    hugging_face.export_folder(tmp_path / "bundle", tmp_path / "hf")

    task = Task("sst2", shared_data / "glue" / "SST-2", limit=STEPS * BATCH)
    preprocessor = Preprocessor(WordPieceTokenizer(vocabulary), LENGTH)
    inputs, targets = batches(preprocessor, task)
    schedule = LinearWarmupDecay(5e-4, 5, STEPS)
    np.savez(
        tmp_path / "batches.npz",
        input_ids=inputs["input_word_ids"],
        attention_mask=inputs["input_mask"],
        token_type_ids=inputs["input_type_ids"],
        labels=targets,
        learning_rates=[float(schedule(step)) for step in range(STEPS)],
    )
    command = [TORCH, SCRIPT, tmp_path / "hf", tmp_path / "batches.npz", tmp_path / "losses.json"]
    subprocess.run(command, check=True, capture_output=True)
    expected = json.loads((tmp_path / "losses.json").read_text())

    model = hugging_face.build(transformers_folder.read(tmp_path / "hf"))
    model.compile(
        adamw(schedule, weight_decay=0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = []
    for step in range(STEPS):
        batch = {name: values[step] for name, values in inputs.items()}
        model.reset_metrics()
        losses.append(float(model.train_on_batch(batch, targets[step])))
    # The curve is not flat: it changes by hundreds of times the tolerance.
    assert max(expected) - min(expected) > 0.2
    np.testing.assert_allclose(losses, expected, atol=1e-3)
