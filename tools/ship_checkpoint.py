"""Writes a squeezed bundle into sqb_tf/pretrained, as a checkpoint that ships.

python -m sqb_tools.ship_checkpoint BUNDLE NAME

Its weights are compact, its samples are the demo's texts: those that it was squeezed on have other licences.
Prints the line of `sqb_tf.checkpoint.pretrained.CHECKPOINTS`.
"""

import argparse
import dataclasses
import json
import shutil
import tempfile
from pathlib import Path

from sqb_tf.checkpoint import bundle, checksum, pretrained
from sqb_tf.checkpoint.compact import compact_weights
from sqb_tf.data.example import Example
from sqb_tf.data.reservoir import ReservoirSample
from sqb_tf.data.task import DEMO, Task
from sqb_tf.progress import log
from sqb_tf.terminal import show

SAMPLE_TEXTS = 512


def ship(source: str, name: str) -> str:
    """Writes the bundle `source` as the checkpoint `name`; returns the sha256 of its weights."""
    info = bundle.read_info(source)
    metrics = json.loads((Path(source) / "metrics.json").read_text(encoding="utf-8"))
    for option in ("teacher", "init"):  # somebody's folders; the model card names the teacher
        metrics["options"].pop(option, None)
    demo = Task("classification", DEMO)
    samples = {}
    for split in ("train", "dev"):
        sample: ReservoirSample[Example] = ReservoirSample(SAMPLE_TEXTS)
        for example in demo.split(split):
            sample.offer(Example(example.text, None, None))
        samples[split] = sample.items
    contents = bundle.BundleContents(
        bundle.load(source),
        info.vocabulary,
        info.labels,
        dataclasses.replace(info.task, data="", command=""),
        calibration=samples["train"],
        verification=samples["dev"],
        metrics=metrics,
    )
    target = pretrained.FOLDER / name
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / name
        bundle.write(staged, contents)
        full = (staged / bundle.WEIGHTS).rename(Path(folder) / "full.h5")
        compact_weights(full, staged / bundle.WEIGHTS)
        checksum.write(staged / bundle.WEIGHTS)
        for file in staged.iterdir():  # beside the model card, which stays
            shutil.copy(file, target / file.name)
    weights = target / bundle.WEIGHTS
    log(f"{weights}: {weights.stat().st_size / 1e6:.1f} MB")
    return checksum.sha256(weights)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", help="the bundle that `sqb squeeze` wrote")
    parser.add_argument("name", help="the checkpoint's name")
    args = parser.parse_args()
    show(f'    "{args.name}": "{ship(args.bundle, args.name)}",')


if __name__ == "__main__":
    main()
