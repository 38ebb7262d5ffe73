"""Fine-tunes SqueezeBERT on labelled texts and writes a bundle."""

import argparse
import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

from sqb_tf.options import option
from sqb_tf.training.checks import check_finetune
from sqb_tf.training.options import FinetuneOptions
from sqb_tools import arguments, entry, outputs, results
from sqb_tools.shared_options import DataOptions, SavingOptions

EPILOG = """examples:
  sqb finetune --data sqb_tf/demo --output runs/demo
  sqb finetune --data GLUE/SST-2 --task sst2 --preset squeezebert-small
  sqb finetune --data reviews.csv --text-column body --label-column stars \\
      --task regression --output runs/stars

A killed or interrupted run continues exactly where it was last saved when --resume is given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneSaving(SavingOptions):
    """Where a fine-tuning writes."""

    output: str | None = option(
        None, "bundle to write", group="saving", metavar="DIR", fallback="runs/TASK"
    )


def main(args: argparse.Namespace) -> int:
    task = arguments.read(DataOptions, args).load_task()
    options = arguments.read(FinetuneOptions, args)
    saving = arguments.read(FinetuneSaving, args)
    output = saving.output or f"runs/{task.name}"
    data = check_finetune(task, output, options)
    if outputs.is_finished(output, saving, options, data.content):
        return outputs.tell_finished(args, output)
    from sqb_tf.training.finetune import finetune  # late: TensorFlow takes seconds to import

    metrics = finetune(
        *(task, output, options, saving.resume, saving.save_every),
        command=results.command(),
        data=data,
        samples=saving.samples,
    )
    table = [
        *_table(output, metrics),
        outputs.privacy(saving.samples),
        _next_command(output, args.data, saving.samples),
    ]
    results.emit(args, "\n".join(table), metrics)
    return entry.DONE


def _table(output: str, metrics: dict[str, Any]) -> Iterator[str]:
    """The result for people."""
    metric, test = metrics["metric"], metrics["test"]
    yield f"bundle           {output}"
    yield (
        f"dev {metric['name']:<12} {metric['value']:.4f} ({metrics['dev_examples']} examples, epoch "
        f"{metrics['best_epoch']}, step {metrics['best_step']})"
    )
    if test is not None:
        for name, value in test["metrics"].items():
            yield f"test {name:<11} {value:.4f} ({test['examples']} examples)"
    if calibration := metrics["calibration"]:
        yield (
            f"calibration      {calibration['error_before']:.4f} -> {calibration['error_after']:.4f} "
            f"(expected error on dev, temperature {calibration['temperature']:.2f})"
        )
    if abstention := metrics["abstention"]:
        caught = abstention["caught"]
        yield (
            f"abstains         below {abstention['below']:.4f}: answers {abstention['answered']:.1%} of "
            f"dev, of those right {abstention['precision']:.1%}"
            + ("" if caught is None else f"; {caught:.1%} of the other texts get no label")
        )
    yield f"parameters       {metrics['parameters']:,}"
    yield f"seconds          {metrics['seconds']}"


def _next_command(output: str, data: str, samples: bool) -> str:
    """The command that they will want next."""
    package = shlex.quote(f"{output.rstrip('/')}.tflite")
    named = "" if samples else f" --data {shlex.quote(data)} --calibration TEXTS"
    return (
        f"next: sqb convert --model {shlex.quote(output)} --quantize int8 --output {package}{named}"
    )


def flags() -> arguments.Parser:
    return arguments.parser(
        *("finetune", __doc__, EPILOG, DataOptions, FinetuneOptions, FinetuneSaving),
        exclude=["distillation"],
        required=["data"],
    )


if __name__ == "__main__":
    entry.run(main, flags())
