"""The chips that LiteRT compiles for, as `--npu` names them."""

from __future__ import annotations

import dataclasses
from typing import Any

from ai_edge_litert.aot.vendors.google_tensor import target as google_tensor
from ai_edge_litert.aot.vendors.intel_openvino import target as intel
from ai_edge_litert.aot.vendors.mediatek import target as mediatek
from ai_edge_litert.aot.vendors.qualcomm import target as qualcomm
from ai_edge_litert.aot.vendors.samsung import target as samsung

from sqb_tf.errors import InputError, unknown_name

# Modules of LiteRT, each with a `SocModel` and a `Target`.
MAKERS: dict[str, Any] = {
    "qualcomm": qualcomm,
    "mediatek": mediatek,
    "google-tensor": google_tensor,
    "samsung": samsung,
    "intel": intel,
}
ALL = "all"


@dataclasses.dataclass(frozen=True, order=True)
class Chip:
    """A system on a chip: a maker of `MAKERS`, and the name that LiteRT has for its model."""

    maker: str
    model: str

    def __str__(self) -> str:
        return f"{self.maker}:{self.model}"

    @property
    def file_suffix(self) -> str:
        """What the name of a file compiled for it ends in, before `.tflite`."""
        return f"-{self.maker}-{self.model}"

    @property
    def target(self) -> Any:
        """What LiteRT calls it."""
        vendor = MAKERS[self.maker]
        return vendor.Target(vendor.SocModel(self.model))


def models(maker: str) -> list[str]:
    """The chips of a maker that LiteRT knows."""
    return [model.value for model in MAKERS[maker].SocModel if model.value != "ALL"]


def parse(text: str) -> list[Chip]:
    """The chips of `qualcomm:SM8750,mediatek:all`, or of `all`, each once and in order.

    Raises:
        InputError: an unknown maker or chip; the message lists those that are known.
    """
    chips: dict[Chip, None] = {}
    for part in text.split(","):
        chips.update(dict.fromkeys(_chips(part.strip())))
    return list(chips)


def _chips(part: str) -> list[Chip]:
    if part == ALL:
        return [Chip(maker, model) for maker in MAKERS for model in models(maker)]
    maker, _, name = part.partition(":")
    if maker not in MAKERS:
        raise unknown_name("--npu", maker, [*MAKERS, ALL])
    if not name:
        raise InputError(
            f"--npu {part}: name a chip, as {maker}:{models(maker)[-1]}, or {maker}:{ALL}; "
            f"{maker} has {', '.join(models(maker))}"
        )
    if name == ALL:
        return [Chip(maker, model) for model in models(maker)]
    by_lower = {model.lower(): model for model in models(maker)}
    if name.lower() not in by_lower:
        raise unknown_name(f"chip of {maker}", name, models(maker))
    return [Chip(maker, by_lower[name.lower()])]
