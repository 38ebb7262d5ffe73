"""Fine-tunes SqueezeBERT on labelled texts and writes a bundle."""

import argparse
import dataclasses

from sqb_tf.options import option
from sqb_tf.training.checks import check_finetune
from sqb_tf.training.options import FinetuneOptions
from sqb_tools import arguments, entry, results
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
    from sqb_tf.training.finetune import finetune  # late: TensorFlow takes seconds to import

    metrics = finetune(
        task, output, options, saving.resume, saving.save_every, results.command(), data
    )
    metric = metrics["metric"]
    table = (
        f"bundle           {output}\n"
        f"dev {metric['name']:<12} {metric['value']:.4f} "
        f"({metrics['dev_examples']} examples, epoch {metrics['best_epoch']}, "
        f"step {metrics['best_step']})\n"
        f"parameters       {metrics['parameters']:,}\n"
        f"seconds          {metrics['seconds']}"
    )
    results.emit(args, table, metrics)
    return entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser(
        *("finetune", __doc__, EPILOG, DataOptions, FinetuneOptions, FinetuneSaving),
        exclude=["distillation"],
        required=["data"],
    )


if __name__ == "__main__":
    entry.run(main, flags())
