"""What `amp: auto` means on another machine: the work that is there is not done again."""

import pytest
from image_samples import make_plan, state_of, train_tiny, tree

from ltood.networks.checkpoint_files import read_meta
from ltood.training import train as training
from ltood.training.loop import Run


@pytest.fixture
def on_gpu():
    """A machine on which `auto` is bfloat16, until it is undone."""

    def resolve(amp, device):
        return "bfloat16" if amp in ("auto", "bf16") else "float32"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "resolve_precision", resolve)
        yield patch


def test_a_checkpoint_of_another_machine_is_kept(on_gpu, tmp_path, capsys):
    out = tmp_path / "out"
    train_tiny(out, make_plan(epochs=1))
    before = tree(out)
    on_gpu.undo()
    assert train_tiny(out, make_plan(epochs=1))["precision"] == "bfloat16"
    assert tree(out) == before
    assert "trained in bfloat16" in capsys.readouterr().err
    assert train_tiny(out, make_plan(epochs=1, amp="off"))["precision"] == "float32"


def test_training_goes_on_as_it_began(on_gpu, monkeypatch, tmp_path):
    train_tiny(tmp_path / "whole", make_plan(epochs=2, checkpoint_epochs=1))
    check = Run._check_losses

    def stop(run):
        if run.progress.epoch == 1 and run.progress.step == 2:
            raise KeyboardInterrupt
        check(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_check_losses", stop)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(tmp_path / "out", make_plan(epochs=2, checkpoint_epochs=1))
    assert (state_of(tmp_path / "out") / "state").is_dir()
    on_gpu.undo()
    train_tiny(tmp_path / "out", make_plan(epochs=2, checkpoint_epochs=1))
    assert read_meta(tmp_path / "out")["precision"] == "bfloat16"
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
