"""Other runtimes' inference of transformers' SqueezeBERT, for benchmarks/comparison.py.

Runs in the environment of torch-requirements.txt. Reads one line of JSON from standard input: `config`
(SqueezeBertConfig's fields), `lengths`, `threads`, and `folder`, where it keeps converted files (for LiteRT
`NAME-LENGTH.tflite`). Answers with one line of JSON, the names that it can run. After that, each line
`NAME LENGTH` runs that once untimed and once more, and answers with milliseconds.

Batch 1, no padding. `pytorch`: eager, in inference mode. `onnxruntime` and `onnxruntime-int8`: exported by
torch.onnx with any length, the latter by quantize_dynamic with a scale for each channel. `litert-torch` and
`litert-torch-int8`: converted for each length, the latter by ai-edge-quantizer's dynamic_wi8_afp32.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def build_model(config: dict[str, Any]) -> Any:
    """transformers' classifier of two labels with random weights."""
    from transformers import SqueezeBertConfig, SqueezeBertForSequenceClassification

    names = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"]
    names += ["intermediate_size", "max_position_embeddings", "q_groups", "k_groups", "v_groups"]
    names += ["post_attention_groups", "intermediate_groups", "output_groups"]
    chosen = {name: config[name] for name in names}
    chosen["embedding_size"] = config["hidden_size"]
    return SqueezeBertForSequenceClassification(SqueezeBertConfig(**chosen)).eval()


def random_ids(length: int) -> list[np.ndarray]:
    """Ids, mask and types `[1, length]`, int64."""
    ids = np.random.default_rng(0).integers(1000, 20000, (1, length))
    return [ids, np.ones_like(ids), np.zeros_like(ids)]


def pytorch(model: Any) -> Callable[[int], Callable[[], Any]]:
    import torch

    def prepare(length: int) -> Callable[[], Any]:
        tensors = [torch.from_numpy(x) for x in random_ids(length)]

        def run() -> None:
            with torch.inference_mode():
                model(*tensors)

        return run

    return prepare


def onnx(model: Any, folder: str, threads: int, int8: bool) -> Callable[[int], Callable[[], Any]]:
    import onnxruntime
    import torch
    from onnxruntime.quantization import quantize_dynamic

    path, names = f"{folder}/model.onnx", ["input_ids", "attention_mask", "token_type_ids"]
    if not os.path.exists(path):
        example = tuple(torch.from_numpy(x) for x in random_ids(16))
        axes = {name: {1: "length"} for name in names}
        torch.onnx.export(
            model,
            example,
            path,
            input_names=names,
            dynamic_axes=axes,
            dynamo=False,
            opset_version=17,
        )
    if int8:
        quantize_dynamic(path, f"{folder}/int8.onnx", per_channel=True)
        path = f"{folder}/int8.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def prepare(length: int) -> Callable[[], Any]:
        inputs = dict(zip(names, random_ids(length), strict=True))
        return lambda: session.run(None, inputs)

    return prepare


def litert(model: Any, folder: str, threads: int, int8: bool) -> Callable[[int], Callable[[], Any]]:
    import litert_torch
    import torch
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    class Logits(torch.nn.Module):
        """Returns the logits instead of transformers' dictionary."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> Any:
            return self.model(*inputs).logits

    def prepare(length: int) -> Callable[[], Any]:
        inputs = random_ids(length)
        converted = litert_torch.convert(Logits(), tuple(map(torch.from_numpy, inputs)))
        path = f"{folder}/{'litert-torch-int8' if int8 else 'litert-torch'}-{length}.tflite"
        converted.export(path)
        if int8:
            with open(path, "rb") as file:
                content = file.read()
            quantized = quantizer.Quantizer(content, recipe.dynamic_wi8_afp32()).quantize()
            with open(path, "wb") as file:
                file.write(quantized.quantized_model)
        interpreter = Interpreter(model_path=path, num_threads=threads)
        interpreter.allocate_tensors()
        for details, values in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(details["index"], values.astype(details["dtype"]))
        return interpreter.invoke

    return prepare


def main() -> None:
    request = json.loads(sys.stdin.readline())
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print
    import torch

    torch.set_num_threads(request["threads"])
    model = build_model(request["config"])
    threads, folder = request["threads"], request["folder"]
    runs: dict[str, Callable[[], Any]] = {}
    makers = {
        "pytorch": lambda: pytorch(model),
        "onnxruntime": lambda: onnx(model, folder, threads, int8=False),
        "onnxruntime-int8": lambda: onnx(model, folder, threads, int8=True),
        "litert-torch": lambda: litert(model, folder, threads, int8=False),
        "litert-torch-int8": lambda: litert(model, folder, threads, int8=True),
    }
    failed = {}
    for name, make in makers.items():
        try:
            prepare = make()
            for length in request["lengths"]:
                runs[f"{name} {length}"] = prepare(length)
                runs[f"{name} {length}"]()
        except Exception as error:  # reported; the other runtimes continue
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    print(json.dumps({"runs": list(runs), "failed": failed}), file=answers, flush=True)
    for line in sys.stdin:
        run = runs[line.strip()]
        run()
        start = time.perf_counter()
        run()
        print(1e3 * (time.perf_counter() - start), file=answers, flush=True)


if __name__ == "__main__":
    main()
