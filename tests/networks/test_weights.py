import pickle
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ltood.core.errors import DataError, StoreError
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.checkpoint import write_checkpoint
from ltood.networks.weights import assign_weights, load_weights, read_weights

IMAGES = ImageSpec(1, 8, 8, (0.5,), (0.25,), 3, 1)
NAME = "cifar_resnet"


def build(seed=0, images=IMAGES):
    torch.manual_seed(seed)
    return build_backbone(NAME, {"variant": "small"}, images).eval()


def bare(backbone):
    """What an official file holds: no scaling."""
    state = backbone.state_dict()
    return {name: value for name, value in state.items() if name not in ("mean", "std")}


def same(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


@pytest.fixture
def source():
    return build(1)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "net_state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_and_prefixes_come_off(source, tmp_path, wrapper, prefix):
    state = {f"{prefix}{name}": value for name, value in bare(source).items()}
    path = tmp_path / "net.pth"
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, path)
    target = build()
    assert not same(target, source)
    load_weights(target, path)
    assert same(target, source)


def test_safetensors_and_folders_of_ours_are_read(source, tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(bare(source), path)
    target = build()
    load_weights(target, path)
    assert same(target, source)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write_checkpoint(folder, source, {"backbone": {"name": NAME, "settings": {"variant": "small"}}})
    target = build()
    load_weights(target, folder)
    assert same(target, source)


def test_scaling_comes_along_where_the_file_has_it(source, tmp_path, capsys):
    torch.save(source.state_dict(), tmp_path / "net.pth")
    images = ImageSpec(1, 8, 8, (0.1,), (0.25,), 3, 1)
    target = build(images=images)
    load_weights(target, tmp_path / "net.pth")
    assert target.mean.item() == 0.5
    assert "mean of the pixels are taken from it too" in capsys.readouterr().err


def test_numpy_numbers_beside_the_weights_are_no_obstacle(source, tmp_path):
    content = {"model": bare(source), "accuracy": [np.float64(0.5), np.float32(1), np.int64(3)]}
    torch.save(content, tmp_path / "latest.pth")
    target = build()
    load_weights(target, tmp_path / "latest.pth")
    assert same(target, source)


def test_counters_may_be_missing(source, tmp_path):
    state = {k: v for k, v in bare(source).items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    target = build()
    load_weights(target, tmp_path / "old.pth")
    assert same(target, source)


def test_leftovers_are_named_and_left_out(source, capsys):
    extra = ("finalScore", "projection.0.weight", "aux_linear.bias", "lambda_linear.weight")
    target = build()
    assign_weights(target, bare(source) | {name: torch.zeros(2) for name in extra}, "file")
    assert same(target, source)
    assert capsys.readouterr().err == (
        f"file: left out, as neither features nor logits need it: {', '.join(extra)}.\n"
    )


def test_the_gamma_layer_of_imood_is_handed_on(source, capsys):
    layer = {"lambda_linear.weight": torch.rand(3, 128), "lambda_linear.bias": torch.rand(3)}
    extras = assign_weights(build(), bare(source) | layer, "file")
    assert set(extras) == {"gamma_weight", "gamma_bias"}
    for name, value in layer.items():
        assert np.array_equal(extras[name.replace("lambda_linear.", "gamma_")], value.numpy())
    said = capsys.readouterr().err
    assert said == "file: lambda_linear.weight, lambda_linear.bias kept as ImOOD's gamma layer.\n"
    layer["lambda_linear.bias"][1] = torch.inf
    with pytest.raises(DataError, match=r"values in lambda_linear\.bias that are no finite"):
        assign_weights(build(), bare(source) | layer, "file")
    layer["lambda_linear.bias"] = torch.rand(4)
    assert assign_weights(build(), bare(source) | layer, "file") == {}
    assert "left out" in capsys.readouterr().err


def test_what_lies_beside_the_head_in_a_folder_is_handed_on(source, tmp_path):
    content = {"backbone": {"name": NAME, "settings": {"variant": "small"}}}
    extras = {"gamma_bias": np.arange(3, dtype=np.float32)}
    write_checkpoint(tmp_path, source, content, extras)
    assert np.array_equal(load_weights(build(), tmp_path)["gamma_bias"], extras["gamma_bias"])


def test_an_unchanged_file_says_nothing(source, capsys):
    assign_weights(build(), source.state_dict(), "file")
    assert capsys.readouterr().err == ""


def test_what_is_missing_or_unknown_is_named_and_nothing_is_loaded(source):
    state = bare(source)
    for name in ("stem.0.weight", "stem.1.bias", "head.weight", "head.bias"):
        del state[name]
    state["mystery.weight"] = torch.zeros(1)
    target, untouched = build(), build()
    with pytest.raises(
        DataError,
        match=r"file does not hold the weights of cifar_resnet as it is set: it lacks "
        r"stem\.0\.weight, stem\.1\.bias, head\.weight and 1 more; also holds mystery\.weight\. "
        r"Choose the file of this network",
    ):
        assign_weights(target, state, "file")
    assert same(target, untouched)


def test_other_shapes_are_told(source):
    images = ImageSpec(1, 8, 8, (0.5,), (0.25,), 10)
    with pytest.raises(
        DataError,
        match=r"as it is set: head\.weight is \[4, 128\] there and \[10, 128\] here; head\.bias is",
    ):
        assign_weights(build(images=images), bare(source), "file")


def test_a_normalised_head_is_called_what_it_is(source):
    state = bare(source)
    del state["head.bias"]
    with pytest.raises(DataError, match=r"lacks head\.bias\. Its head is no linear layer"):
        assign_weights(build(), state, "file")
    state["head.weight_g"] = torch.ones(4, 1)
    state["head.weight_v"] = state.pop("head.weight")
    with pytest.raises(DataError, match="cosine or normalised classifier"):
        assign_weights(build(), state, "file")
    state = bare(source)
    del state["stem.1.bias"]
    with pytest.raises(DataError, match=r"lacks stem\.1\.bias\. Choose"):
        assign_weights(build(), state, "file")


def test_numbers_must_be_finite(source):
    state = bare(source)
    state["head.bias"] = torch.full((4,), torch.nan)
    with pytest.raises(DataError, match=r"values in head\.bias that are no finite numbers"):
        assign_weights(build(), state, "file")


class Stranger:
    def __reduce__(self):
        return (eval, ("1 + 1",))


def test_files_with_code_are_not_opened(tmp_path):
    torch.save({"state_dict": {}, "args": Stranger()}, tmp_path / "net.pth")
    with pytest.raises(DataError, match=r"holds Python objects .* save its tensors alone with"):
        read_weights(tmp_path / "net.pth")


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="there are no weights at"):
        read_weights(tmp_path / "absent.pth")
    for content in (b"not a checkpoint", b"", pickle.dumps([1, 2])):
        (tmp_path / "net.pth").write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as tensors"):
            read_weights(tmp_path / "net.pth")
        # Torch's advice to open the file unsafely is not passed on.
        with pytest.raises(DataError) as caught:
            read_weights(tmp_path / "net.pth")
        assert "weights_only" not in str(caught.value)
    (tmp_path / "net.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        read_weights(tmp_path / "net.safetensors")


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {}}])
def test_files_without_tensors_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "net.pth")
    found = " but epoch;" if "epoch" in content else ";"
    with pytest.raises(DataError, match=f"holds no tensors by name{found}"):
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
