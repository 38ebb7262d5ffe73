"""Time of a training step of every head on CPU: ours against transformers' PyTorch.

As training_step.py, for one head after the other: both take turns step by step. The masked LM is
`SqueezeBertPretrainer` without sentence order, which computes only the masked positions (15%); transformers'
computes every position. Multiple choice has half as many examples, of two choices each.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks import training_step as steps
from benchmarks.torch_training_step import CLASSES, LEARNING_RATE, NUM_LABELS, WEIGHT_DECAY


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", type=Path, required=True, help="see training_step.py")
    parser.add_argument("--preset", default="squeezebert-base", help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--seq-length", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    output.add_flags(parser)
    return parser.parse_args()


def keras_model(head: str, config: Any) -> Any:
    """Our compiled model of a head."""
    import keras

    from sqb_tf.model import heads
    from sqb_tf.training.optimizer import FusedAdamW

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if head == "masked_lm":
        pretrainer = heads.build("pretraining", config)
        outputs = pretrainer.output["masked_lm_logits"]
        model = keras.Model(pretrainer.input, outputs)
    else:
        model = heads.build(head, config, NUM_LABELS)
    losses = {"start_logits": loss, "end_logits": loss} if head == "span" else loss
    optimizer = FusedAdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    model.compile(optimizer, losses, jit_compile=False)
    return model


def measure(head: str, config: Any, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Statistics of both in seconds, by the keys of `training_step.summarize`."""
    size = args.batch_size, args.seq_length
    ours = steps.keras_step(keras_model(head, config), *steps.keras_batch(head, config, *size))
    setup = steps.torch_setup(args, config, head, "float32")
    with steps.torch_step(args.torch_python, setup) as (
        theirs,
        _,
    ):
        results = steps.measure({f"{head} ours": ours, f"{head} torch": theirs}, args.steps)
    rows = steps.summarize(results)
    return {name.rpartition(" ")[2]: row for name, row in rows.items()}


def table(report: dict[str, Any]) -> str:
    """The results page's table."""
    rows = [
        [
            "head, seconds per training step",
            "ours",
            "`transformers` in PyTorch",
            "slower than ours by",
        ]
    ]
    for head, times in report["rows"].items():
        ratio = times["torch"]["median"] / times["ours"]["median"]
        rows.append([head, *map(steps.spread, times.values()), f"{ratio:.2f}x"])
    foot = (
        f"{report['preset']}, batch {report['batch_size']} x {report['seq_length']} tokens, float32, "
        f"{report['threads']} threads of {report['cpu']}, {report['steps']} steps."
    )
    return f"{output.markdown_table(rows)}\n\n{foot}"


def main() -> None:
    """Measures, prints the table, writes the JSON."""
    args = parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    steps.use_threads(args.threads)
    import keras

    from sqb_tf import SqueezeBertConfig

    config = SqueezeBertConfig.from_preset(args.preset)
    report = {
        name: getattr(args, name)
        for name in ("preset", "batch_size", "seq_length", "threads", "steps")
    }
    report.update(cpu=output.processor(), rows={})
    for head in CLASSES:
        report["rows"][head] = measure(head, config, args)
        keras.backend.clear_session(free_memory=True)
    output.publish(args, "heads", report, table(report))


if __name__ == "__main__":
    main()
