"""The checkpoints that ship with the package, by name. Each is a bundle with a model card, README.md."""

from __future__ import annotations

from pathlib import Path

from sqb_tf.checkpoint import checksum
from sqb_tf.errors import InputError

FOLDER = Path(__file__).parents[1] / "pretrained"
# The sha256 of each one's weights. `python -m sqb_tools.ship_checkpoint` writes them.
CHECKPOINTS: dict[str, str] = {
    "squeezebert-mini": "178521e109d76b7f7572820af94bf5d822057d31375a503fdbf84f92ad615371",
    "squeezebert-micro": "64eb90459a1e4ee4c47a361f6d92de8fb83c111d421996d456c9c83f63987f12",
}
# What a fine-tuning starts from if nothing says otherwise.
DEFAULT = "squeezebert-micro"


def resolve(source: str | Path) -> Path:
    """The folder of the checkpoint that the string `source` is the name of; anything else as it is.

    A folder of that name is `./NAME`, or a `Path`.
    """
    return FOLDER / source if is_name(source) else Path(source)


def is_name(source: str | Path) -> bool:
    """Whether `source` names a checkpoint."""
    return isinstance(source, str) and source in CHECKPOINTS


def check_weights(path: Path) -> None:
    """`InputError` if `path` is the weight file of a checkpoint, but not as it was shipped."""
    folder = path.resolve().parent
    expected = CHECKPOINTS.get(folder.name) if folder.parent == FOLDER.resolve() else None
    if expected is not None and checksum.sha256(path) != expected:
        raise InputError(
            f"{path}: not the weights that ship with this version (sha256 {expected[:16]}...): install the "
            "package again"
        )
