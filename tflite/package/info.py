"""What a package says of itself, read once and passed on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError

from . import container
from .graph import SignatureDef, Subgraph

_LENGTH_INPUT = "input_word_ids"  # its second axis is the sequence length


@dataclasses.dataclass(frozen=True)
class SignatureInfo:
    """One entry point of the model.

    Attributes:
        inputs, outputs: names in alphabetical order, as the interpreter lists them.
        graph_inputs, graph_outputs: names in the order of the graph, by which `benchmark_model` tells them
            apart.
        seq_length: tokens of its inputs; None: any number.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    graph_inputs: tuple[str, ...]
    graph_outputs: tuple[str, ...]
    seq_length: int | None

    def to_json(self) -> dict[str, Any]:
        """The keys of a manifest's and `describe`'s signatures, except for the name."""
        return {
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "seq_length": self.seq_length,
        }


@dataclasses.dataclass(frozen=True)
class PackageInfo:
    """Everything about a package but its weights.

    Attributes:
        path: as given; `<bytes>` for a package in memory.
        labels: names of the scores; None for a model without labels.
        properties: the package's `sqb.json`: recipe, lowering, head, lengths, versions and so on; empty in
            packages of other projects.
        signatures: in the order of the file.
    """

    path: str
    sha256: str
    size_bytes: int
    vocabulary: tuple[str, ...] = dataclasses.field(repr=False)
    labels: tuple[str, ...] | None
    properties: Mapping[str, Any]
    signatures: tuple[SignatureInfo, ...]

    @classmethod
    def read(cls, source: str | Path | bytes) -> PackageInfo:
        """Reads a package from a file or from its bytes.

        Raises:
            InputError: no such file, not a package, or damaged.
        """
        if isinstance(source, bytes):
            path, content = "<bytes>", source
        else:
            path = str(source)
            try:
                content = Path(source).read_bytes()
            except OSError as error:
                raise container.not_readable(path, error) from None
        package, graph = container.open_bytes(content, path)
        return cls(
            path=path,
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            vocabulary=tuple(package.vocabulary),
            labels=None if package.labels is None else tuple(package.labels),
            properties=package.properties,
            signatures=tuple(
                _signature(definition, graph.subgraphs[definition.subgraph], path)
                for definition in graph.signatures
            ),
        )

    @property
    def recipe(self) -> str | None:
        return self.properties.get("recipe")

    @property
    def lowering(self) -> str | None:
        return self.properties.get("lowering")

    @property
    def baseline(self) -> str | None:
        """The architecture it is a baseline of, such as `bert-base`; None: a SqueezeBERT."""
        return self.properties.get("baseline")

    @property
    def head(self) -> str:
        """The name of the head, such as `classification`."""
        return self.properties.get("kind", "classification")

    @property
    def paired(self) -> bool:
        """Whether it takes pairs of texts."""
        return bool(self.properties.get("paired"))

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that converted it, by name."""
        return self.properties.get("versions") or {}

    @property
    def seq_lengths(self) -> tuple[int, ...]:
        """The fixed lengths, ascending; empty for a package of any length."""
        return tuple(sorted(s.seq_length for s in self.signatures if s.seq_length))

    @property
    def max_seq_length(self) -> int:
        """The most tokens that a text may have.

        Raises:
            InputError: the package says nothing of how its text is prepared.
        """
        longest = max(self.seq_lengths, default=0) or self.properties.get("max_seq_length")
        if longest is None:
            raise InputError(
                f"{self.path}: the package does not say how its text is prepared: expected one "
                "that `sqb convert` wrote"
            )
        return longest

    def signature_for(self, length: int) -> SignatureInfo:
        """The signature that runs a text of `length` tokens, see `fitting_length`."""
        fitting = fitting_length([s.seq_length for s in self.signatures], length)
        return next(s for s in self.signatures if s.seq_length == fitting)

    def manifest(self) -> dict[str, Any]:
        """The properties and the signatures by name: what the manifest beside a package repeats."""
        return {**self.properties, "signatures": {s.name: s.to_json() for s in self.signatures}}


def fitting_length(lengths: Sequence[int | None], length: int) -> int | None:
    """Which of the lengths of signatures runs a text of `length` tokens.

    None, any length, if it is among them; else the shortest that is long enough; for a text longer than all
    of them the longest.
    """
    fixed = [n for n in lengths if n is not None]
    if len(fixed) < len(lengths):
        return None
    return min((n for n in fixed if n >= length), default=max(fixed))


def _signature(definition: SignatureDef, subgraph: Subgraph, path: str) -> SignatureInfo:
    in_order = {}
    for what in ("inputs", "outputs"):
        names = {index: name for name, index in getattr(definition, what).items()}
        indices = getattr(subgraph, what)
        if unknown := set(indices) - names.keys():
            raise InputError(
                f"{path}: signature {definition.name!r} has no name for {what[:-1]} {min(unknown)} of the "
                "model; convert it again"
            )
        in_order[f"graph_{what}"] = tuple(names[index] for index in indices)
    shape: tuple[int, ...] = ()
    if _LENGTH_INPUT in definition.inputs:
        shape = subgraph.tensors[definition.inputs[_LENGTH_INPUT]].signature
    # -1 where it may change.
    length = shape[1] if len(shape) == 2 and shape[1] > 0 else None
    return SignatureInfo(
        name=definition.name,
        inputs=tuple(sorted(definition.inputs)),
        outputs=tuple(sorted(definition.outputs)),
        seq_length=length,
        **in_order,
    )
