"""What a trimmed vocabulary saves and costs: size and accuracy of squeezebert-micro on CLINC150.

Fine-tunes with the whole vocabulary and with fewer tokens, some seeds of each, and evaluates packages whose
embeddings have 8 and 4 bits on both published splits. Every result is kept in --results, so that the same
command goes on where it stopped, on another machine too.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.pareto_tasks import BENCHMARKS, Contender, add_precision, score

MARKER = "trimming"
TASK = BENCHMARKS["CLINC150"]
SPLITS = {"dev": dataclasses.replace(TASK, test=None), "test": TASK}
# What `--trim-vocabulary` keeps; None: everything. A file of 6 MB has room for some 4,800 tokens in int8 (396
# bytes each), 9,000 with 4-bit embeddings alone (204 bytes), and 17,000 with 4 bits everywhere.
VOCABULARIES = (None, "auto", "17000", "9000", "4800")
RECIPES = {
    "int8": "int8",
    "int8, 4-bit embeddings": {"*": "int8", "embeddings": "int4"},
    "int4-all": "int4-all",
}


def measure(model: Contender, seed: int, folder: Path) -> dict[str, Any]:
    """Fine-tunes, converts by each recipe, and evaluates."""
    from sqb_tflite import Runner, convert

    print(f"vocabulary {model.trim or 'all'}, seed {seed}", file=sys.stderr)
    model.train(TASK, seed, folder / "bundle")
    metrics = json.loads((folder / "bundle" / "metrics.json").read_text(encoding="utf-8"))
    packages = {}
    for name, recipe in RECIPES.items():
        package = convert(folder / "bundle", recipe)
        runner = Runner(package)
        packages[name] = {
            "bytes": len(package),
            **{split: score(runner, task) for split, task in SPLITS.items()},
        }
    return {"trimmed": metrics["trimmed_vocabulary"], "packages": packages}


def collect(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The results of every vocabulary and seed."""
    kept, results = output.Results(args.results), []
    for trim in VOCABULARIES:
        model = Contender(init=args.init, trim=trim, precision=args.precision)
        for seed in range(args.seeds):
            digest = model.digest(TASK, seed, RECIPES)
            folder = args.output / f"{trim or 'all'}-{seed}-{digest}"
            run = functools.partial(measure, model, seed, folder)
            result = kept.get(f"{trim or 'all'}/{seed}", digest, run)
            results.append({"vocabulary": trim or "all", "seed": seed, **result})
    return results


def table(results: list[dict[str, Any]], args: argparse.Namespace) -> str:
    """A row for each vocabulary and recipe: MB, and the accuracy of both splits, ± over the seeds."""
    rows = [
        [
            "`--trim-vocabulary`",
            "tokens",
            "of dev's tokens changed",
            "recipe",
            "MB",
            *(f"{split}, %" for split in SPLITS),
        ]
    ]
    for vocabulary in dict.fromkeys(result["vocabulary"] for result in results):
        runs = [result for result in results if result["vocabulary"] == vocabulary]
        trimmed = runs[0]["trimmed"] or {"tokens": "all", "dev_tokens_changed": 0}
        tokens = [str(trimmed["tokens"]), f"{trimmed['dev_tokens_changed']:.1%}"]
        for recipe in RECIPES:
            packages = [run["packages"][recipe] for run in runs]
            scores = [output.mean_and_spread([p[split] for p in packages]) for split in SPLITS]
            size = f"{packages[0]['bytes'] / 1e6:.1f}"
            rows.append([vocabulary, *tokens, recipe, size, *scores])
    seeds = len({result["seed"] for result in results})
    foot = (
        f"{args.init} on CLINC150 with its out-of-scope class, ± the standard deviation over seeds "
        f"({seeds}), trained in {args.precision}. Dev also chose the best checkpoint, and how many tokens "
        "auto keeps."
    )
    return f"{output.markdown_table(rows)}\n\n{foot}"


def main() -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--init", default="squeezebert-micro", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (default: %(default)s)")
    output.add_results(parser, "trimming")
    add_precision(parser)
    output.add_flags(parser)
    args = parser.parse_args()
    output.check_markers(args.readme, MARKER)
    results = collect(args)
    output.publish(args, MARKER, results, table(results, args))


if __name__ == "__main__":
    main()
