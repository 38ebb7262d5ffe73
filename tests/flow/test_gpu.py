"""LiteRT's GPU accelerator, over SwiftShader: `--for gpu` is taken whole and answers as the CPU does.

LiteRT's `is_fully_accelerated` is no proof: it says so of packages whose answers are wrong.
"""

import json
from pathlib import Path

import pytest
from fixtures.bundles import TEXTS
from fixtures.commands import call, rejects
from fixtures.gpu import needs_gpu_accelerator
from fixtures.tiers import every_mixer

import sqb_tflite
from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tflite.accelerators import records, rules, vulkan
from sqb_tflite.accelerators.check import Check, check_gpu
from sqb_tflite.accelerators.gpu_runner import GpuRunner
from sqb_tflite.conversion.recipes import LOWERINGS, Recipe, RecipeSpec
from sqb_tflite.conversion.targets import CHOICES, Choice, choose
from sqb_tflite.package.graph import Graph
from sqb_tflite.verification.release import release

LENGTH = 32
# Float32 against float32, in another order.
EXACT_DB = 100.0
ON_GPU = [
    (recipe.label, lowering)
    for recipe, choice in CHOICES["gpu"].items()
    if isinstance(choice, Choice)
    for lowering in choice.lowerings
]


def examples(head: str, count: int = 12) -> list[Example]:
    """Texts, or pairs of them, without labels."""
    pairs = TEXTS[count:] if registry.get(head).always_paired else [None] * count
    return [Example(text, pair) for text, pair in zip(TEXTS[:count], pairs)]


def verdict(content: bytes, accelerator: str = "gpu") -> rules.Verdict:
    return rules.judge(Graph.read(content, "package"), accelerator)


@pytest.fixture
def written(tmp_path):
    """`written(content)`: the package in a file."""

    def write(content: bytes, name: str = "a.tflite") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_positions_of_a_fixed_length_are_not_added_row_by_row(lowering, converted):
    """LiteRT's GPU accelerator adds a constant [length, channels] right in row 0 alone."""
    assert verdict(converted("float32", 16, lowering=lowering)) == rules.Verdict("gpu", rules.WHOLE)
    any_length = verdict(converted("float32", lowering=lowering))
    assert any_length.extent == rules.NOT and "fixed lengths" in any_length.refused[0]


def test_rules_know_what_is_taken_in_part_and_what_is_wrong(converted):
    grouped = verdict(converted("int8", 16, lowering="grouped-conv"))
    assert grouped.extent == rules.WHOLE and "grouped CONV_2D" in grouped.wrong[0]
    assert verdict(converted("int8", 16)).problems == ()
    assert "16-bit" in " ".join(verdict(converted("int8-full", 16)).refused)
    assert verdict(converted("int8-full", 16), "npu") == rules.Verdict("npu", rules.WHOLE)
    assert "int8 or int4 table" in verdict(converted("int8", 16), "npu").refused[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--quantize", "int8"], "--for gpu: it takes fixed lengths alone: name them"),
        (
            ["--quantize", "int8-full", "--seq-lengths", "16"],
            "with int8-full: .*no 16-bit integers",
        ),
        (["--quantize", "int16x8", "--seq-lengths", "16"], "with int16x8: .*no 16-bit integers"),
        (
            ["--quantize", "int8", "--seq-lengths", "16", "--lowering", "grouped-conv"],
            "with int8 and --lowering grouped-conv: its answers would be wrong",
        ),
    ],
)
def test_what_a_gpu_would_not_take_is_refused_before_the_work(flags, message, bundle_dir, tmp_path):
    output = tmp_path / "a.tflite"
    rejects(message, "convert", "--model", bundle_dir, "--output", output, "--for", "gpu", *flags)
    assert not output.exists()


def test_a_recipe_of_ones_own_is_judged_by_its_file(bundle_dir):
    tables = {"*": "float32", "embeddings": "fp16"}
    with pytest.raises(InputError, match="--for gpu: EMBEDDING_LOOKUP: a table in float16"):
        sqb_tflite.convert(bundle_dir, tables, [16], target="gpu")
    with pytest.raises(InputError, match=r"--for npu with int8: .* int8-full or fp16"):
        choose("npu", RecipeSpec.read("int8"), "auto", [16])


def test_without_a_driver_one_line_says_what_to_install(monkeypatch, bundle_dir, package):
    for variable in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(vulkan, "_swiftshaders", lambda: iter(()))
    flags = ["--model", bundle_dir, "--package", package]
    rejects("apt-get install libvulkan1 chromium-common", "verify", *flags, "--gpu")
    monkeypatch.setenv("VK_DRIVER_FILES", "/no/driver.json")
    rejects("VK_DRIVER_FILES=.*there is no /no/driver.json", "verify", *flags, "--gpu")
    rejects("--record: expected with --gpu", "verify", *flags, "--record")


@needs_gpu_accelerator
def test_a_package_for_gpus_is_checked_there_and_says_so(bundle_dir, tmp_path):
    package = tmp_path / "a.tflite"
    flags = ["--quantize", "float32", "--seq-lengths", "16,32", "--for", "gpu", "--limit", "20"]
    assert call("convert", "--model", bundle_dir, "--output", package, *flags) == 0
    manifest = json.loads(package.with_suffix(".json").read_text())
    check = manifest["accelerators"]["gpu"]
    assert check["whole"] and check["misses"] == [] and check["agreement"] == 1
    assert check["sqnr_db"] > EXACT_DB and check["examples"] == 20
    assert manifest["lowering"] == "grouped-conv"

    del manifest["accelerators"]
    package.with_suffix(".json").write_text(json.dumps(manifest))
    described = tmp_path / "described"
    for checked in (False, True):
        assert call("describe", "--package", package, "--json", described) == 0
        places = json.loads(described.read_text())["runs_on"]
        assert [place["extent"] for place in places.values()] == ["whole"] * 3
        assert (places["gpu"]["checked"] is not None) == checked
        verify = ["verify", "--model", bundle_dir, "--package", package, "--gpu", "--limit", "5"]
        assert call(*verify, "--record") == 0
    package.write_bytes(package.read_bytes() + b"\0")  # another file: its record is not this one's
    with pytest.raises(InputError, match="no manifest of"):
        records.keep(package, "gpu", check)


@needs_gpu_accelerator
def test_what_the_gpu_gets_wrong_is_found_although_it_is_fully_accelerated(converted, written):
    wrong = written(converted("int8", 16, lowering="grouped-conv"))
    check = check_gpu(wrong, examples("classification"))
    assert check.whole and check.sqnr_db < 10
    assert any("SQNR" in miss for miss in check.misses), check.table()


@needs_gpu_accelerator
def test_a_crash_a_hang_and_a_dynamic_length_are_one_line(converted, written, package):
    with pytest.raises(InputError, match=r"cannot open it: exit code 1, .*static-sized"):
        GpuRunner(package)
    fixed = written(converted("float32", 16))
    with pytest.raises(InputError, match=r"cannot open it: no answer in 0\.01 s"):
        GpuRunner(fixed, time_limit=0.01)
    with GpuRunner(fixed) as runner:
        runner._process.terminate()
        runner._process.wait()
        with pytest.raises(InputError, match="cannot run it: signal SIGTERM"):
            runner.classify(["a film"])
    with pytest.raises(InputError, match="was closed"):
        runner.classify(["a film"])


def test_a_gpus_miss_is_no_release(bundle_dir, tmp_path, monkeypatch):
    """Whole and wrong, as by a LiteRT that computes something else: nothing is written."""
    wrong = Check(
        "gpu",
        "d",
        "r",
        1,
        True,
        0,
        {},
        0.5,
        3.0,
        1.0,
        {},
        misses=["on the GPU: SQNR 3.0 dB < 80 dB"],
    )
    monkeypatch.setattr("sqb_tflite.verification.release._checked_on_gpu", lambda *args: wrong)
    with pytest.raises(sqb_tflite.BoundsMissed, match=r"on the GPU: SQNR 3\.0 dB"):
        release(bundle_dir, tmp_path / "a.tflite", "float32", seq_lengths=[16], target="gpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@needs_gpu_accelerator
@every_mixer
@pytest.mark.parametrize("head", registry.NAMES)
@pytest.mark.parametrize(("recipe", "lowering"), ON_GPU)
def test_every_head_and_recipe_for_gpus_is_whole_and_right(
    recipe, lowering, head, mixer, head_model, written
):
    rows = examples(head, 12)
    texts = [row.text if row.pair is None else row.texts for row in rows]
    content = sqb_tflite.convert(
        head_model(head, mixer), recipe, [LENGTH], texts, lowering, target="gpu"
    )
    assert verdict(content).problems == ()
    check = check_gpu(written(content), rows)
    assert check.whole, check.table()
    # The GPU does not round activations, as the CPU does in integers: a random model's decisions may turn.
    floats = recipe in ("float32", "fp16")
    assert check.sqnr_db >= (EXACT_DB if floats else Recipe.named(recipe).bounds.sqnr_db)
    if floats:
        assert check.agreement == 1


@pytest.mark.slow
@needs_gpu_accelerator
@pytest.mark.parametrize("recipe", ["fp16", "int8-full", "int16x8"])
def test_rules_refuse_what_the_gpu_refuses(recipe, converted, written):
    content = converted(recipe, 16)
    assert verdict(content).extent == rules.IN_PART
    with GpuRunner(written(content)) as runner:
        assert not runner.whole and runner.left_to_cpu and runner.refused
