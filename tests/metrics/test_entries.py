"""Every file in ltood/metrics keeps the same promises."""

import subprocess
import sys

import pytest

from ltood.core.registry import available, load


@pytest.mark.parametrize("name", available("metrics"))
def test_an_entry_says_what_it_is(name):
    module = load("metrics", name)
    assert isinstance(module.HIGHER_IS_BETTER, bool)
    assert module.UNIT == "fraction"
    assert callable(getattr(module, name))


def test_only_fpr_and_risks_are_better_when_lower():
    lower = [name for name in available("metrics") if not load("metrics", name).HIGHER_IS_BETTER]
    assert lower == ["augrc", "aurc", "fpr_at_tpr"]


def test_metrics_and_evaluation_start_without_heavy_imports():
    names = ", ".join(f"ltood.metrics.{name}" for name in available("metrics"))
    heavy = ("torch", "torchvision", "sklearn", "scipy", "matplotlib", "zarr", "PIL", "faiss")
    code = f"import sys, ltood.evaluation.measures, {names}; print(*{heavy!r} & sys.modules.keys())"
    code = code.replace(repr(heavy), f"set({heavy!r})")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
