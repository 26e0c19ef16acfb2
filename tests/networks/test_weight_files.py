"""Files of weights are recognised by their first bytes, and nothing in them is run."""

import gzip
import pickle
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ltood.core.errors import DataError, StoreError
from ltood.networks.weight_files import read_weights

TENSORS = {"conv.weight": torch.arange(4.0), "fc.bias": torch.ones(2)}


def equal(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in found
    )


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "module.module.",
        "_orig_mod.module.",
        "module._orig_mod.",
        "_fsdp_wrapped_module.",
    ],
)
def test_what_training_puts_before_names_comes_off(tmp_path, prefix):
    torch.save({f"{prefix}{name}": value for name, value in TENSORS.items()}, tmp_path / "net.pth")
    assert equal(read_weights(tmp_path / "net.pth"), TENSORS)


def test_wrappers_inside_names_come_off_and_parts_called_module_stay(tmp_path):
    state = {
        "layer1._fsdp_wrapped_module.0._orig_mod.weight": torch.ones(1),
        "a.module.b": torch.ones(1),
    }
    torch.save(state, tmp_path / "net.pth")
    assert set(read_weights(tmp_path / "net.pth")) == {"layer1.0.weight", "a.module.b"}


def test_counters_of_averaging_and_profiling_are_left_out(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 2))
    state = {
        **averaged.state_dict(),
        "total_ops": torch.zeros(1),
        "layer.total_params": torch.zeros(1),
    }
    torch.save(state, tmp_path / "net.pth")
    assert set(read_weights(tmp_path / "net.pth")) == {"weight", "bias"}


@pytest.mark.parametrize(
    ("raw", "average"),
    [
        ("state_dict", "state_dict_ema"),
        ("model", "model_ema"),
        ("model", "ema"),
        (None, "model_ema"),
    ],
)
def test_averages_are_taken_and_named(tmp_path, capsys, raw, average):
    content = {average: TENSORS, "epoch": 3}
    if raw is not None:
        content[raw] = {name: value + 1 for name, value in TENSORS.items()}
    torch.save(content, tmp_path / "net.pth")
    assert equal(read_weights(tmp_path / "net.pth"), TENSORS)
    said = capsys.readouterr().err
    assert f"the averaged weights ({average}) are taken" in said
    assert (f"({raw})" in said) == (raw is not None)


def test_names_do_not_decide_what_a_file_is(tmp_path):
    save_file(TENSORS, tmp_path / "pytorch_model.bin")
    torch.save(TENSORS, tmp_path / "net.safetensors")
    for name in ("pytorch_model.bin", "net.safetensors"):
        assert equal(read_weights(tmp_path / name), TENSORS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1234\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"\n  <html><body>Sign in</body></html>", "web page"),
        (gzip.compress(b"tensors", mtime=0), "compressed with gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"just some text\n", "begins with b'just some text"),
        (b"# Weights\nput files here\n", "begins with"),
        (b"\x80\x02not a pickle", "damaged"),
        (b"\x80", "damaged"),
        (b"PK\x03\x04 cut off", "damaged"),
        (b"\x10\0\0\0\0\0\0\0{not json at all", "safetensors"),
    ],
)
def test_files_of_another_kind_are_called_what_they_are(tmp_path, content, said):
    for name in ("net.pth", "net.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_weights(tmp_path / name)
        assert said in str(caught.value)
        assert str(tmp_path / name) in str(caught.value)
        # Torch's advice to open the file unsafely is not passed on.
        assert "weights_only" not in str(caught.value)


def test_numpy_archives_are_named(tmp_path):
    np.savez(tmp_path / "net.npz", weight=np.zeros(3))
    with pytest.raises(DataError, match=r"NumPy archive \(\.npz\)"):
        read_weights(tmp_path / "net.npz")
    np.save(tmp_path / "net.npy", np.zeros(3))
    with pytest.raises(DataError, match="NumPy array"):
        read_weights(tmp_path / "net.npy")


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_damaged_files_are_one_line(tmp_path, cut):
    for name, old in (("new.pth", False), ("old.pth", True)):
        torch.save(TENSORS, tmp_path / name, _use_new_zipfile_serialization=not old)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-cut])
        with pytest.raises(DataError, match="damaged"):
            read_weights(tmp_path / name)
    save_file(TENSORS, tmp_path / "net.safetensors")
    content = (tmp_path / "net.safetensors").read_bytes()
    (tmp_path / "net.safetensors").write_bytes(content[: -min(cut, 20)])
    with pytest.raises(DataError, match="safetensors"):
        read_weights(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantised"),
        (lambda: torch.eye(2).to_sparse(), "sparse"),
        (lambda: torch.ones(2, dtype=torch.complex64), "complex"),
    ],
)
def test_tensors_that_are_not_dense_numbers_are_named(tmp_path, value, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"conv.weight": value(), "fc.bias": torch.ones(2)}, tmp_path / "net.pth")
        with pytest.raises(DataError, match=rf"conv\.weight as a .*{kind}"):
            read_weights(tmp_path / "net.pth")


class Stranger:
    def __reduce__(self):
        return (eval, ("1 + 1",))


def test_files_with_code_are_not_opened(tmp_path):
    torch.save({"state_dict": {}, "args": Stranger()}, tmp_path / "net.pth")
    with pytest.raises(DataError, match=r"holds Python objects .* save its tensors alone with"):
        read_weights(tmp_path / "net.pth")


def test_missing_and_foreign_content_is_refused(tmp_path):
    with pytest.raises(DataError, match="there are no weights at"):
        read_weights(tmp_path / "absent.pth")
    (tmp_path / "net.pth").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DataError, match=r"net\.pth"):
        read_weights(tmp_path / "net.pth")


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {}}])
def test_files_without_tensors_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(DataError, match="holds no tensors by name"):
        read_weights(tmp_path / "net.pth")


def test_folders_must_hold_a_whole_checkpoint(tmp_path):
    with pytest.raises(StoreError, match="holds no checkpoint"):
        read_weights(tmp_path)


def test_a_torchscript_archive_is_refused_with_what_to_do(tmp_path):
    # Scripting itself is deprecated; published archives remain.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
        torch.jit.save(traced, tmp_path / "ViT-B-16.pt")
    with pytest.raises(DataError, match=r"is a TorchScript archive, .*torch\.jit\.load\(path"):
        read_weights(tmp_path / "ViT-B-16.pt")
