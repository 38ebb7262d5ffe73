"""Fine-tunes SqueezeBERT on labelled texts and on a teacher's outputs for them, and writes a bundle."""

from sqb_tf.training.options import FinetuneOptions
from sqb_tools import arguments, entry
from sqb_tools.finetune import FinetuneSaving, main
from sqb_tools.shared_options import DataOptions

EPILOG = """examples:
  sqb distill --teacher runs/base-mnli --data GLUE/MNLI --task mnli \\
      --preset squeezebert-small --hidden-weight 1 --output runs/mnli
  sqb distill --teacher garden/bert-rte --data GLUE/RTE --task rte \\
      --init runs/mnli --hidden-weight 1 --output runs/rte

These are the paper's two stages: MNLI with a teacher, then the task with a teacher of its own. Leave out
--hidden-weight to match logits alone.

A teacher is a classifier or a regression with the labels of the data, in any order:
  a bundle        as written by `sqb finetune` or `sqb import_hf`
  Model Garden    the folder of a BERT trained by its sentence_prediction: params.yaml and ckpt-N.* as that
                  training left them, and beside them vocab.txt, the vocabulary of that training, and
                  labels.txt, label names in the order of its class ids (none for a regression)
It keeps its own vocabulary, casing and length. Its outputs are computed once.

With --hidden-weight all layers of the student but the last are also pulled towards layers of the teacher,
evenly spaced: the loss is the squared distance between the first token's states, each scaled to length 1
(patient knowledge distillation, Sun et al. 2019)."""


def flags() -> arguments.Parser:
    return arguments.parser(
        "distill",
        __doc__,
        EPILOG,
        DataOptions,
        FinetuneOptions,
        FinetuneSaving,
        required=["data", "teacher"],
    )


if __name__ == "__main__":
    entry.run(main, flags())
