"""Tables that the benchmarks write into results pages and model cards, from reports of few figures."""

from argparse import Namespace

import pytest

from benchmarks import accelerators, output, pareto_report, pareto_tasks, trimming
from sqb_tf.checkpoint import pretrained
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError


def run(score: float, misses: tuple[str, ...] = ()) -> dict:
    return {"score": score, "misses": list(misses)}


REPORT = {
    "precisions": ["float32"],
    "processors": ["EPYC (avx2)"],
    "scores": {
        "CLINC150": {
            "from scratch": {"float32": {"runs": [run(0.5)]}},
            "small": {
                "float32": {"runs": [run(0.8), run(0.9)]},
                "int8": {"runs": [run(0.75, ["agreement 0.9 < 0.985"])]},
            },
        },
        "SST-2": {"small": {"float32": {"runs": [run(0.7)]}}},
    },
}


def rows(markdown: str) -> list[list[str]]:
    """The cells of a table without its rule."""
    lines = markdown.split("\n\n")[0].split("\n")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:1] + lines[2:]]


def test_a_model_card_compares_its_model_with_the_others_in_float32():
    assert rows(pareto_report.card_table(REPORT, "small")) == [
        ["task", "float32", "int8", "from scratch, float32"],
        ["CLINC150", "85.0 ± 7.1", "75.0", "50.0"],
        ["SST-2", "70.0", "", ""],
    ]


def test_scores_say_which_bounds_were_missed():
    table = pareto_report.score_table(REPORT)
    assert rows(table) == [
        ["model", "recipe", "CLINC150", "SST-2"],
        ["from scratch", "float32", "50.0", ""],
        ["small", "float32", "85.0 ± 7.1", "70.0"],
        ["small", "int8", "75.0", ""],
    ]
    assert "chose the checkpoint but for CLINC150. Trained in float32 on EPYC (avx2)." in table
    assert "small int8 on CLINC150 (agreement 0.9 < 0.985)" in table


def test_trimming_has_a_row_for_each_vocabulary_and_recipe():
    packages = {name: {"bytes": 6e6, "dev": 0.9, "test": 0.8} for name in trimming.RECIPES}
    trimmed = {"tokens": 6500, "dev_tokens_changed": 0.023}
    results = [
        {"vocabulary": "all", "seed": 0, "trimmed": None, "packages": packages},
        {"vocabulary": "6500", "seed": 0, "trimmed": trimmed, "packages": packages},
    ]
    table = trimming.table(results, Namespace(init="small", precision="float32"))
    assert rows(table)[1] == ["all", "all", "0.0%", "int8", "6.0", "90.0", "80.0"]
    assert rows(table)[-1] == ["6500", "6500", "2.3%", "int4-all", "6.0", "90.0", "80.0"]
    assert len(rows(table)) == 1 + 2 * len(trimming.RECIPES)


def test_a_report_has_the_runs_of_every_seed_in_the_order_of_tasks_and_models():
    def entry(score: float) -> dict:
        result = {"precision": "float32", "recipes": {"int8": run(score)}}
        return {"processor": "EPYC", "result": result}

    names = (
        "CLINC150/squeezebert-micro/0",
        "CLINC150/MiniLM-L6/0",
        "MRPC/MiniLM-L6/1",
        "MRPC/MiniLM-L6/0",
    )
    entries = {name: entry(score) for name, score in zip(names, (0.7, 0.9, 0.6, 0.8), strict=True)}
    report = pareto_report.make_report({**entries, pareto_report.LATENCY: {"result": []}})
    assert list(report["scores"]) == ["MRPC", "CLINC150"]
    assert list(report["scores"]["CLINC150"]) == ["MiniLM-L6", "squeezebert-micro"]
    assert report["scores"]["MRPC"]["MiniLM-L6"]["int8"]["score"] == pytest.approx(0.7)
    assert (report["precisions"], report["processors"]) == (["float32"], ["EPYC"])


def test_every_checkpoint_is_compared():
    assert set(pretrained.CHECKPOINTS) < set(pareto_report.MODELS)


def test_a_result_is_computed_once(tmp_path):
    results = output.Results(tmp_path / "folder" / "results.json")
    assert results.get("b", "1", lambda: {"score": (1, 2)}) == {"score": [1, 2]}
    assert output.Results(results.path).get("b", "1", pytest.fail) == {"score": [1, 2]}
    assert results.get("b", "2", lambda: 3) == 3  # other settings
    with pytest.raises(TypeError):
        results.get("a", "1", object)
    assert list(results.entries()) == ["b"]


def test_a_page_without_markers_is_refused_before_the_work(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- pareto -->\nold\n<!-- /pareto -->\n")
    output.check_markers(page, "pareto")
    output.check_markers(None, "pareto")
    output.update_markdown(page, "pareto", "new")
    assert page.read_text() == "<!-- pareto -->\nnew\n<!-- /pareto -->\n"
    for path, name in ((page, "trimming"), (tmp_path / "missing.md", "pareto")):
        with pytest.raises(SystemExit, match=rf"{path}: expected <!-- {name} -->"):
            output.check_markers(path, name)


def test_every_task_can_be_opened(shared_data):
    for title, benchmark in pareto_tasks.BENCHMARKS.items():
        task = Task(benchmark.task, benchmark.data)
        data, split = benchmark.evaluated
        for examples in (
            task.split("train"),
            task.split("dev"),
            Task(benchmark.task, data).split(split),
        ):
            assert next(iter(examples), None) is not None, title


def test_chips_that_take_the_same_of_every_package_share_a_column():
    whole = {"failure": None, "taken": 9, "operations": 9, "partitions": 1, "refused": []}
    refusal = {"operation": "GATHER", "count": 2, "reasons": ["rows become float"]}
    part = {**whole, "taken": 7, "partitions": 2, "refused": [refusal]}
    failed = {**whole, "taken": 0, "failure": 'code 6: "a/Gather_27_LiteRt_OpId_3" generated: no'}
    results = {
        "fp16 | group-fused": {"qualcomm:A": whole, "qualcomm:B": failed, "qualcomm:C": whole},
        "int8 | grouped-conv": {"qualcomm:A": part, "qualcomm:B": part, "qualcomm:C": part},
    }
    assert accelerators.chip_table(results, 64).splitlines() == [
        "| package, 64 tokens | lowering | A, C | B |",
        "| --- | --- | --- | --- |",
        "| fp16 | group-fused | whole | refused |",
        "| int8 | grouped-conv | 7 of 9 in 2 | 7 of 9 in 2 |",
        "",
        "- refused: code 6: generated: no",
        "- `GATHER` on the CPU: rows become float",
    ]


def test_rows_are_chosen_by_whole_names_which_may_have_commas():
    (row,) = accelerators.rows("grouped-conv", ["fp16, float32 tables"])
    assert (row.recipe, row.lowering) == (accelerators.FLOAT_TABLES, "grouped-conv")
    with pytest.raises(InputError, match=r"--recipes 'int9'.*did you mean"):
        accelerators.rows(None, ["int8", "int9"])
