"""Writes weight files in PyTorch's current and legacy formats: weight_files.py OUTPUT.

Runs in the environment of benchmarks/torch-requirements.txt. `expected.npz` holds the arrays of `zip.bin` and
`legacy.bin`; `code.bin` is a pickle that would run code.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch


class Code:
    """Creates a file in the working directory when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("code-was-run"),)


def main() -> None:
    """Runs the command; see the module's docstring."""
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    table = torch.randn(6, 4)
    state = torch.nn.Linear(4, 3).state_dict()  # an OrderedDict with an attribute
    state.update(
        transposed=table.T,  # one storage, other strides
        part=table[2:, 1:3],  # and an offset
        half=torch.randn(5).half(),
        bfloat=torch.randn(5).bfloat16(),
        double=torch.randn(2, 2).double(),
        long=torch.arange(7),
        flags=torch.tensor([True, False]),
        scalar=torch.tensor(3.5),
        empty=torch.zeros(0, 4),
        parameter=torch.nn.Parameter(torch.randn(2)),
    )
    torch.save(state, output / "zip.bin")
    torch.save(state, output / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"weight": torch.zeros(1), "code": Code()}, output / "code.bin")
    torch.save({"code": Code()}, output / "code-legacy.bin", _use_new_zipfile_serialization=False)
    arrays = {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        for name, tensor in state.items()
    }
    np.savez(output / "expected.npz", **arrays)


if __name__ == "__main__":
    main()
