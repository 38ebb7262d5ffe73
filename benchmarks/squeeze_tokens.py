"""What more tokens would give the checkpoints: their held-out error over tokens, and its extrapolation.

Reads the curves that squeezing kept (`metrics.json`) and the accuracy after fine-tuning that
`squeeze_curve.py` and `pareto.py` kept: nothing is trained. Writes a table of a results page, and a picture.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.squeeze_curve import Setting

MARKER = "squeeze-tokens"
SEQ_LENGTH = 128  # tokens of an instance, as the cards say
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)  # of the tokens of a run, as far as it was evaluated there
MORE = (2, 5, 10)  # times the tokens
# The part of a run that the power law is fitted to: after warm-up, before the rate has fallen to nothing,
# which lowers the error once more and would do so at the end of a longer run too.
FITTED = (0.1, 0.85)
TASK, RECIPE = "CLINC150", "int8"


def curve(metrics: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens, and the error of the last layer there."""
    steps = np.array([point["step"] for point in metrics["curve"]])
    return steps * tokens_of_a_step(metrics), np.array(
        [point["hidden_errors"][-1] for point in metrics["curve"]]
    )


def tokens_of_a_step(metrics: dict[str, Any]) -> int:
    """Tokens that a step learns from."""
    return metrics["options"]["batch_size"] * SEQ_LENGTH


def exponent(tokens: np.ndarray, errors: np.ndarray) -> float:
    """Of the power law of the error over tokens."""
    low, high = (share * tokens[-1] for share in FITTED)
    fitted = (tokens >= low) & (tokens <= high)
    slope, _ = np.polyfit(np.log(tokens[fitted]), np.log(errors[fitted]), 1)
    return float(slope)


def collect(args: argparse.Namespace) -> dict[str, Any]:
    """Name -> curve, exponent, and the accuracy at few tokens and at all."""
    from sqb_tf.checkpoint import pretrained

    few, shipped = (output.Results(path).entries() for path in (args.squeezed, args.scores))
    rows = {}
    for name in pretrained.CHECKPOINTS:
        path = pretrained.FOLDER / name / "metrics.json"
        metrics = json.loads(path.read_text(encoding="utf-8"))
        tokens, errors = curve(metrics)
        options = metrics["options"]
        setting = few.get(Setting(options["layers"], options["groups"]).name, {})
        score = shipped.get(f"{TASK}/{name}/0", {}).get("result")
        rows[name] = {
            "tokens_of_a_step": tokens_of_a_step(metrics),
            "tokens": tokens.tolist(),
            "errors": errors.tolist(),
            "exponent": exponent(tokens, errors),
            "few": setting.get("result"),
            "accuracy": score and score["recipes"][RECIPE]["score"],
        }
    return rows


def extrapolated(row: dict[str, Any], factor: float) -> float:
    """The error after `factor` times the tokens."""
    return row["errors"][-1] * factor ** row["exponent"]


def table(rows: dict[str, Any]) -> str:
    """A row for each checkpoint and number of tokens; those not trained are in italics."""
    lines = [["checkpoint", "million tokens", "last layer's error", f"{TASK} test, {RECIPE}, %"]]
    for name, row in rows.items():
        tokens = np.array(row["tokens"])
        if few := row["few"]:
            million = few["held_out"]["step"] * row["tokens_of_a_step"] / 1e6
            scores = f"{few['metric']['value']:.3f}", f"{100 * few['accuracy']:.1f}"
            lines.append([name, f"{million:.1f} (another run)", *scores])
        nearest = [int(np.abs(tokens - share * tokens[-1]).argmin()) for share in SHARES]
        for i in sorted(set(nearest)):
            is_last = i == len(tokens) - 1
            accuracy = f"{100 * row['accuracy']:.1f}" if is_last and row["accuracy"] else ""
            lines.append([name, f"{tokens[i] / 1e6:.1f}", f"{row['errors'][i]:.3f}", accuracy])
        for factor in MORE:
            million = f"*{factor * tokens[-1] / 1e6:.0f}*"
            lines.append([name, million, f"*{extrapolated(row, factor):.3f}*", ""])
    laws = "; ".join(f"{name} {row['exponent']:.2f}" for name, row in rows.items())
    foot = (
        f"In italics: extrapolated by a power law, exponents {laws}, fitted between {FITTED[0]:.0%} and "
        f"{FITTED[1]:.0%} of the run."
    )
    return f"{output.markdown_table(lines)}\n\n{foot}"


def draw(rows: dict[str, Any], path: Path) -> None:
    """Errors over tokens, both logarithmic."""
    from sqb_tflite.bench.reports.drawing import COLOURS

    with output.svg_picture(path, (5.5, 3.6)) as figure:
        axes = figure.subplots()
        for (name, row), colour in zip(rows.items(), COLOURS, strict=False):
            tokens = np.array(row["tokens"])
            axes.loglog(tokens / 1e6, row["errors"], "o-", color=colour, markersize=3, label=name)
            factors = np.array([1, *MORE])
            errors = [extrapolated(row, factor) for factor in factors]
            axes.loglog(factors * tokens[-1] / 1e6, errors, "--", color=colour)
        axes.set_xlabel("million tokens (dashed: extrapolated)")
        axes.set_ylabel("held-out error of the last layer")
        axes.legend(fontsize=8)


def main() -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--squeezed", type=Path, required=True, help="the --results of squeeze_curve.py"
    )
    parser.add_argument("--scores", type=Path, required=True, help="the --results of pareto.py")
    parser.add_argument("--picture", type=Path, help="an .svg: the error over tokens")
    output.add_flags(parser)
    args = parser.parse_args()
    output.check_markers(args.readme, MARKER)
    rows = collect(args)
    output.publish(args, MARKER, rows, table(rows))
    if args.picture:
        draw(rows, args.picture)


if __name__ == "__main__":
    main()
