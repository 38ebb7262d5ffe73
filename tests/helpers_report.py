"""A made-up result for the tests of reports: no device was measured for any figure in it."""

import datetime
import itertools
import random
import statistics

START = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
PACKAGES = {
    "float32": "out/squeezebert-float32.tflite",
    "int8": "out/squeezebert-int8.tflite",
    "int4": "out/squeezebert-int4.tflite",
    "dynamic": "runs/baselines/0123abcd/bert-base-dynamic-any.tflite",
}
BASELINES = {"dynamic": "bert-base"}
MEGABYTES = {"float32": 203.9, "int8": 52.7, "int4": 31.0, "dynamic": 110.0}
SPEED = {"float32": 2.0, "int8": 1.0, "int4": 1.1, "dynamic": 4.3}
PHONE, HOST = "127.0.0.1:40001", "host"
HARDWARE = {
    PHONE: {
        "name": "SQB test device",
        "cpu": "made up",
        "cores": 8,
        "memory_gb": 3.9,
        "os": "Android 12 (API 31)",
        "load_average": None,
        "abi": "arm64-v8a",
        "clusters": [[4, 1766], [4, 2803]],
        "governor": "schedutil",
    },
    HOST: {
        "name": "vm",
        "cpu": "made-up CPU",
        "cores": 2,
        "memory_gb": 25.3,
        "os": "Linux 6 x86_64",
        "load_average": 0.2,
    },
}
TYPES = {"FULLY_CONNECTED": 62.0, "BATCH_MATMUL": 14.0, "SOFTMAX": 9.5, "MUL": 6.0, "ADD": 4.0}
TYPES |= {"TRANSPOSE": 2.5, "EMBEDDING_LOOKUP": 1.5, "RESHAPE": 0.5}


def result() -> dict:
    """Two devices, four packages, three lengths, two numbers of threads; one run failed."""
    cells = itertools.product((PHONE, HOST), (1, 2), (16, 64, 128), PACKAGES)
    records = [record(device, threads, length, recipe) for device, threads, length, recipe in cells]
    gone = (PHONE, 2, 128, "dynamic")
    records = [r for r in records if _key(r) != gone]
    hot = next(r for r in records if _key(r) == (PHONE, 2, 128, "int8"))
    hot["throttled"] = ["CPU clock fell from 2803 to 1766 MHz"]
    cell = {
        "device": PHONE,
        "package": PACKAGES["dynamic"],
        "threads": 2,
        "seq_length": 128,
        "delegate": "xnnpack",
        "core_mask": None,
    }
    failure = cell | {
        "hardware_name": "SQB test device",
        "cause": "offline",
        "message": "the device went offline during the run",
        "at": START.isoformat(),
    }
    return {"records": records, "failures": [failure], "missing": [cell]}


def record(device: str, threads: int, length: int | None, recipe: str, scale: float = 1.0) -> dict:
    """One record; `scale` multiplies its times. `length` None: every text at its own length."""
    draw = random.Random(f"{device} {threads} {length} {recipe}")
    count = 200 if length is None else 30 if device == HOST else 5
    tokens = [length or draw.randrange(5, 60) for _ in range(count)]
    a_token = scale * SPEED[recipe] / 10 / threads**0.8
    taken = [round(a_token * n * draw.uniform(0.97, 1.06), 4) for n in tokens]
    samples, median = sorted(taken), round(statistics.median(taken), 4)
    made = {
        "package": PACKAGES[recipe],
        "sha256": f"{len(recipe):064x}",
        "size_bytes": round(1e6 * MEGABYTES[recipe]),
        "recipe": recipe,
        "lowering": "group-fused",
        "device": device,
        "threads": threads,
        "delegate": "xnnpack",
        "core_mask": None,
        "signature": "serving_default",
        "seq_length": length,
        "padded_to": None,
        "timed": "call" if length is None else "invoke",
        "latency_ms": {
            "min": samples[0],
            "p5": samples[1],
            "median": median,
            "mean": round(sum(samples) / count, 4),
            "p95": samples[-2],
            "std": 0.1,
            "count": count,
        },
        "samples_ms": taken,
        "ci95_ms": [round(0.98 * median, 4), round(1.02 * median, 4)],
        "init_ms": 12.3 * SPEED[recipe],
        "first_run_ms": 1.4 * median,
        "peak_memory_mb": 61.5 * SPEED[recipe],
        "private_memory_mb": 35.5 * SPEED[recipe],
        "total_memory_mb": None,
        "delegated": None,
        "states": [],
        "throttled": [],
        "profile": None,
        "hardware": HARDWARE[device],
        "tool": None,
        "versions": {"ai-edge-litert": "2.3.0"},
        "date": START.isoformat(),
        "text": {"source": "made-up.tsv", "texts": 200},
        "baseline": BASELINES.get(recipe),
    }
    if length is None:
        made["samples"] = {"tokens": tokens, "ms": taken}
        made["lengths"] = {"min": 5, "median": 24.0, "mean": 25.1, "max": 60}
    return made | (_of_phone(draw, threads, length, median) if device == PHONE else {})


def _of_phone(draw: random.Random, threads: int, length: int, median: float) -> dict:
    minutes = draw.uniform(0, 30)
    at = START + datetime.timedelta(minutes=minutes)
    state = {
        "at": at.isoformat(),
        "temperature_c": round(24 + minutes / 4, 1),
        "battery_percent": 80,
        "cpu_mhz": [1766, 2803],
    }
    return {
        "tool": {"name": "benchmark_model (tflite)", "sha256": "ab" * 32, "mode": "binary"},
        "versions": {},
        "delegated": {"extent": "partial", "nodes": 50, "total": 58, "partitions": 2},
        "states": [state],
        "profile": [
            {"type": name, "count": 3, "avg_ms": round(share * median / 100, 4), "percent": share}
            for name, share in TYPES.items()
        ],
    }


def _key(made: dict) -> tuple:
    return made["device"], made["threads"], made["seq_length"], made["recipe"]
