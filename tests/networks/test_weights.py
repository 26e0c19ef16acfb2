import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ltood.core.errors import DataError
from ltood.networks.backbone import ImageSpec, build_backbone
from ltood.networks.checkpoint import write_checkpoint
from ltood.networks.weights import assign_weights, load_weights

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
        f"file: skipped, as neither features nor logits need it: {', '.join(extra)}.\n"
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
    with pytest.raises(DataError, match=r"lambda_linear\.bias that are not finite"):
        assign_weights(build(), bare(source) | layer, "file")
    layer["lambda_linear.bias"] = torch.rand(4)
    assert assign_weights(build(), bare(source) | layer, "file") == {}
    assert "skipped" in capsys.readouterr().err


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
        match=r"as it is set: head\.weight is \[4, 128\] in the file and \[10, 128\] here; ",
    ):
        assign_weights(build(images=images), bare(source), "file")


def test_a_normalised_head_is_called_what_it_is(source):
    state = bare(source)
    del state["head.bias"]
    with pytest.raises(DataError, match=r"lacks head\.bias\. Its head"):
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
    with pytest.raises(DataError, match=r"head\.bias that are not finite"):
        assign_weights(build(), state, "file")


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.", "encoder_q.", "model.backbone."])
def test_a_prefix_that_is_all_that_differs_comes_off(source, capsys, prefix):
    state = {f"{prefix}{name}": value for name, value in bare(source).items()}
    state |= {"criterion.weight": torch.ones(3), "queue": torch.zeros(2, 5)}
    target = build()
    assign_weights(target, state, "file")
    assert same(target, source)
    said = capsys.readouterr().err
    assert f"'{prefix}' is removed from the names" in said
    assert "criterion.weight, queue" in said


def test_of_a_network_and_its_momentum_copy_the_network_is_taken(source, capsys):
    other = bare(build(2))
    state = {f"encoder_k.{name}": value for name, value in other.items()}
    state |= {f"encoder_q.{name}": value for name, value in bare(source).items()}
    target = build()
    assign_weights(target, state, "file")
    assert same(target, source)
    assert "'encoder_q.' is removed" in capsys.readouterr().err


def test_two_networks_in_one_file_are_ambiguous(source):
    state = {
        f"{who}.{name}": v for who in ("student", "teacher") for name, v in bare(source).items()
    }
    with pytest.raises(DataError, match=r"2 times.*'student\.' and 'teacher\.'; "):
        assign_weights(build(), state, "file")


def test_what_differs_beside_a_prefix_is_named_without_it(source):
    state = {f"model.{name}": value for name, value in bare(source).items()}
    del state["model.stem.1.bias"]
    with pytest.raises(DataError, match=r"once 'model\.' is removed.*lacks stem\.1\.bias\."):
        assign_weights(build(), state, "file")


def test_one_number_fits_one_number(source):
    state = {
        name: value.reshape(1) if value.ndim == 0 else value for name, value in bare(source).items()
    }
    assert any(value.shape == (1,) for value in state.values())
    target = build()
    assign_weights(target, state, "file")
    assert same(target, source)


OTHER = ImageSpec(1, 8, 8, (0.5,), (0.25,), 10)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "its head has 4 outputs, but 10 are needed here"),
        ({"head.weight": None, "head.bias": None}, "it holds no head"),
        ({"head.bias": None}, "its head is not one linear layer with a bias (head.weight)"),
        (
            {"head.weight": None, "head.bias": None, "head.0.weight": torch.zeros(9, 128)},
            "its head is not one linear layer with a bias (head.0.weight)",
        ),
    ],
)
def test_a_head_that_is_trained_starts_afresh_where_it_does_not_fit(source, capsys, changed, said):
    state = {k: v for k, v in {**bare(source), **changed}.items() if v is not None}
    target, fresh = build(images=OTHER), build(images=OTHER)
    assign_weights(target, state, "file", head="if_fitting")
    assert capsys.readouterr().err == (
        f"file: {said}; the head starts afresh, 50 of 52 tensors are taken from it.\n"
    )
    assert torch.equal(target.head.weight, fresh.head.weight)
    assert torch.equal(target.stem[0].weight, source.stem[0].weight)
    with pytest.raises(DataError, match="does not hold the weights"):
        assign_weights(build(images=OTHER), state, "file")


def test_a_head_that_fits_is_kept_unless_it_is_for_other_classes(source, capsys):
    target = build()
    assign_weights(target, bare(source), "file", head="if_fitting")
    assert same(target, source)
    assert capsys.readouterr().err == "file: 52 of 52 tensors are taken from it.\n"
    target, fresh = build(), build()
    assign_weights(target, bare(source), "file", head="fresh")
    assert torch.equal(target.head.weight, fresh.head.weight)
    assert "the head starts afresh" in capsys.readouterr().err


def test_a_head_of_another_width_is_of_another_network(source):
    state = {**bare(source), "head.weight": torch.zeros(10, 64), "head.bias": torch.zeros(10)}
    with pytest.raises(
        DataError, match=r"head\.weight is \[10, 64\] in the file and \[10, 128\] here"
    ):
        assign_weights(build(images=OTHER), state, "file", head="if_fitting")


def renamed(state, stem):
    return {name.replace("head.", f"{stem}."): value for name, value in state.items()}


@pytest.mark.parametrize("stem", ["fc", "classifier", "last_linear", "heads.head", "classifier.1"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_head_of_another_name_is_found(source, capsys, stem, prefix):
    state = {f"{prefix}{name}": value for name, value in renamed(bare(source), stem).items()}
    target = build()
    assign_weights(target, state, "file", head="if_fitting")
    assert same(target, source)
    num = sum("num_batches" not in name for name in state)
    assert f"{num} of {num} tensors" in capsys.readouterr().err
    if stem != "fc":  # A name that published files use; it is translated.
        with pytest.raises(DataError, match="lacks head"):
            assign_weights(build(), state, "file")


@pytest.mark.parametrize("stem", ["fc", "head"])
def test_a_head_for_other_classes_starts_afresh_whatever_its_name(source, capsys, stem):
    state = renamed(bare(source), stem)
    state[f"{stem}.weight"], state[f"{stem}.bias"] = torch.ones(9, 128), torch.ones(9)
    target = build()
    assign_weights(target, state, "file", head="if_fitting")
    fresh = build().state_dict()
    for name, value in target.state_dict().items():
        expected = fresh if name.startswith("head.") or name in ("mean", "std") else state
        assert torch.equal(value, expected[name])
    num = sum("num_batches" not in name for name in state)
    assert f"{num - 2} of {num} tensors" in capsys.readouterr().err


def test_a_head_of_several_layers_starts_afresh(source, capsys):
    state = {name: value for name, value in bare(source).items() if "head." not in name}
    state |= {f"fc.{part}.{kind}": torch.ones(4) for part in (0, 2) for kind in ("weight", "bias")}
    assign_weights(build(), state, "file", head="if_fitting")
    assert "not one linear layer" in capsys.readouterr().err


def test_a_file_of_another_network_is_refused_whatever_becomes_of_the_head():
    state = {"conv.weight": torch.ones(3, 3), "fc.weight": torch.ones(9, 128)}
    for head in ("given", "if_fitting", "fresh"):
        with pytest.raises(DataError, match="does not hold the weights of cifar_resnet"):
            assign_weights(build(), state, "file", head=head)
