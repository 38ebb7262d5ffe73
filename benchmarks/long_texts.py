"""Texts longer than the input: Polarity 2.0's whole reviews by each policy of --long-texts, at 128 tokens.

Each policy is trained with, some seeds of each, and evaluated on test in int8 by every policy. Every result
is kept in --results, so that the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.random_bundle import SHARED_DATA

MARKER = "long-texts"
DATA = SHARED_DATA / "longdoc" / "polarity2"
# A text is some eight windows, each of them an example: an epoch of windows has as many steps as eight.
EPOCHS = {"truncate": 5, "head-tail": 5, "windows": 1}
SETTINGS = {"batch_size": 16, "seq_length": 128}


def measure(init: str, policy: str, seed: int, folder: Path) -> dict[str, Any]:
    """Fine-tunes with a policy, converts, and evaluates by each."""
    from sqb_tf.data.task import Task
    from sqb_tf.training.finetune import finetune
    from sqb_tf.training.options import FinetuneOptions
    from sqb_tflite import Runner, convert
    from sqb_tflite.evaluation.evaluate import evaluate

    task, bundle = Task("classification", DATA), folder / "bundle"
    if not (bundle / "metrics.json").is_file():
        options = FinetuneOptions(
            init=init, long_texts=policy, epochs=EPOCHS[policy], seed=seed, **SETTINGS
        )
        finetune(task, bundle, options, resume=True)
    runner = Runner(convert(bundle, "int8"))
    accuracy = {}
    for used in EPOCHS:
        runner.head = runner.head.update_settings({"long_texts": used})
        accuracy[used] = evaluate(runner, task, "test")["metrics"]["accuracy"]
    metrics = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    return {"accuracy": accuracy, "dev": metrics["metric"]["value"], "seconds": metrics["seconds"]}


def table(rows: dict[str, list[dict[str, Any]]], init: str) -> str:
    """A row for each policy in training, a column for each in use."""
    lines = [["trained with", *(f"{policy}, %" for policy in EPOCHS), "epochs", "minutes"]]
    for policy, runs in rows.items():
        used = [output.mean_and_spread([run["accuracy"][name] for run in runs]) for name in EPOCHS]
        minutes = sum(run["seconds"] for run in runs) / len(runs) / 60
        lines.append([policy, *used, str(EPOCHS[policy]), f"{minutes:.0f}"])
    seeds = len(next(iter(rows.values())))
    foot = (
        f"{init} on Polarity 2.0 (Pang and Lee 2004), test accuracy in int8 at 128 tokens, ± the standard "
        f"deviation over seeds ({seeds})."
    )
    return f"{output.markdown_table(lines)}\n\n{foot}"


def main() -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--init", default="squeezebert-micro", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (default: %(default)s)")
    output.add_results(parser, "long-texts")
    output.add_flags(parser)
    args = parser.parse_args()
    output.check_markers(args.readme, MARKER)
    from benchmarks.pareto_tasks import weights_digest

    kept, rows = output.Results(args.results), {policy: [] for policy in EPOCHS}
    for seed in range(args.seeds):
        for policy in EPOCHS:
            print(f"{policy}, seed {seed}", file=sys.stderr)
            digest = output.digest(weights_digest(args.init), SETTINGS, EPOCHS[policy], seed)
            folder = args.output / f"{policy}-{seed}-{digest}"
            run = functools.partial(measure, args.init, policy, seed, folder)
            rows[policy].append(kept.get(f"{policy}/{seed}", digest, run))
    output.publish(args, MARKER, rows, table(rows, args.init))


if __name__ == "__main__":
    main()
