"""The parameters of TensorFlow's iOS benchmark app.

The app (`tensorflow/lite/tools/benchmark/ios`, `BenchmarkViewController.mm`) runs the same tool as Android's,
with flags from `benchmark_params.json`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from sqb_tf.errors import InputError
from sqb_tf.text.encoder import MIN_SEQ_LENGTH

from ...package.info import PackageInfo
from .device_inputs import value_ranges

_REQUIRED = {"graph": r".+", "num_threads": r"\d+", "input_layer_shape": r"1,\d+(:1,\d+)*"}


def write_params(package: str, length: int, threads: int, runs: int) -> str:
    """The app's `benchmark_params.json` for a package at a length; every value is a string, as it requires.

    Raises:
        InputError: not a package, or a length that it does not take.
    """
    info = PackageInfo.read(package)
    longest = info.max_seq_length
    if not MIN_SEQ_LENGTH <= length <= longest:
        raise InputError(f"--length {length}: {package} takes {MIN_SEQ_LENGTH} to {longest} tokens")
    signature = info.signature_for(length)
    names = signature.graph_inputs
    shape = f"1,{signature.seq_length or length}"
    values = {
        "benchmark_name": "squeezebert",
        "graph": Path(package).name,
        "num_threads": str(threads),
        "num_runs": str(runs),
        "input_layer": ",".join(names),
        "input_layer_shape": ":".join([shape] * len(names)),
        # The app takes no files of inputs.
        "input_layer_value_range": value_ranges(names, len(info.vocabulary)),
    }
    if len(info.signatures) > 1:
        values["signature_to_run_for"] = signature.name
    return json.dumps(values, indent=2) + "\n"


def read_params(path: str | Path) -> dict[str, str]:
    """The parameters in a file.

    Raises:
        InputError: a file that is missing or was not written for the app.
    """
    try:
        params = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {error}: expected the app's benchmark_params.json") from None
    for key, pattern in _REQUIRED.items():
        value = params.get(key) if isinstance(params, dict) else None
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise InputError(f"{path}: {key} {value}: expected the app's benchmark_params.json")
    return params
