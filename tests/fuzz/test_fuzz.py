"""Mutants of valid files, and files that were bad once: refused in one line, or read within bounds.

`SQB_FUZZ_SECONDS=600 pytest -s -m slow tests/fuzz` tries more mutants than `make test-all`, and counts them.
"""

import collections
import os
import time
from collections.abc import Sequence

import pytest
from fixtures.paths import REPOSITORY
from fuzz.guard import Guard, Outcome
from fuzz.mutate import mutant
from fuzz.targets import ALL, TARGETS

QUICK = 300
SLOW_SECONDS = float(os.environ.get("SQB_FUZZ_SECONDS", 60))  # of each target
INPUTS = REPOSITORY / "tests" / "fuzz" / "inputs"
# Where a mutant that a target fails on is kept: copied to INPUTS, it is tested for good.
KEPT = REPOSITORY / ".build" / "fuzz"


def keep(target: str, number: int, content: bytes, outcome: Outcome) -> str:
    """Keeps a bad mutant; the line that says so."""
    path = KEPT / target / str(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"{path}: {outcome.kind}, {outcome.seconds:.1f} s, {outcome.megabytes:.0f} MB\n{outcome.message}"


def fuzz(target: str, seeds: Sequence[bytes], numbers: Sequence[int], seconds: float) -> None:
    """Runs mutants until the time is up; fails if any is bad, or if all or none are refused."""
    end = time.monotonic() + seconds
    kinds, bad = collections.Counter(), []
    with Guard(target) as guard:
        for seed in seeds:
            assert guard.run(seed).kind == "accepted", f"a valid file is not read by {target}"
        for number in numbers:
            content = mutant(seeds, number)
            outcome = guard.run(content)
            kinds[outcome.kind] += 1
            if outcome.is_bad:
                bad.append(keep(target, number, content, outcome))
            if time.monotonic() > end:
                break
    print(f"{target}: {kinds.total():,} mutants, {dict(kinds)}")
    assert not bad, "\n\n".join([f"{len(bad)} bad mutants", *bad[:10]])
    assert kinds.keys() == {"accepted", "refused"}


@pytest.mark.parametrize("target", TARGETS)
def test_mutants(target, request):
    fuzz(target, request.getfixturevalue(TARGETS[target].seeds), range(QUICK), float("inf"))


@pytest.mark.slow
@pytest.mark.parametrize("target", ALL)
def test_more_mutants(target, request):
    seeds = request.getfixturevalue(ALL[target].seeds)
    fuzz(target, seeds, range(QUICK, 10**9), SLOW_SECONDS)


@pytest.mark.parametrize("target", ALL)
def test_inputs_that_were_bad_are_refused(target, request):
    paths = sorted((INPUTS / target).glob("*"))
    if not paths:
        pytest.skip("none was ever bad")
    with Guard(target) as guard:
        guard.run(request.getfixturevalue(ALL[target].seeds)[0])
        outcomes = {path.name: guard.run(path.read_bytes()) for path in paths}
    assert not {name: o for name, o in outcomes.items() if o.kind != "refused"}


def test_the_guard_sees_what_is_bad():
    """A crash, a traceback, a message of two lines, too much memory and no end, each by its name."""
    expected = {
        b"": "accepted",
        b"crash": "crashed",
        b"traceback": "traceback",
        b"lines": "not one line",
        b"memory": "too large",
        b"endless": "crashed",
        b"refuse": "refused",
    }
    with Guard("the guard itself") as guard:
        assert {word: guard.run(word).kind for word in expected} == expected
