"""What is compiled or folded agrees with plain extraction, and says so in the store."""

import numpy as np
import pytest
import torch
from image_samples import TinyImages, extract_tiny, make_plan, one_thread, train_tiny, tree

from ltood.core.errors import ConfigError
from ltood.extraction.config import ExtractionConfig
from ltood.extraction.repair import repair
from ltood.store.features import FeatureStore

#: Of the largest feature; rounding, and no more.
TOLERANCE = 1e-5
CONFIG = {"batch_size": 4, "rows_per_chunk": 6}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "checkpoint"
    train_tiny(out, make_plan(epochs=1))
    return out


@pytest.fixture(scope="module")
def plain(checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain") / "features.zarr"
    extract_tiny(checkpoint, out, CONFIG)
    return FeatureStore.open(out)


def agrees(found, plain):
    """Whether all arrays are those of plain extraction but for rounding."""
    assert found.splits == plain.splits
    for name in plain.splits:
        wanted = plain.split(name).load(("features", "logits"))
        for key, values in found.split(name).load(("features", "logits")).items():
            scale = np.abs(wanted[key]).max()
            np.testing.assert_allclose(values / scale, wanted[key] / scale, atol=TOLERANCE, rtol=0)
    return True


@pytest.fixture
def eager(monkeypatch):
    """A compiler that compiles nothing; the sizes of the batches that it was given."""
    sizes = []

    def compiling(embed, **options):
        assert options.keys() == {"dynamic", "options"}

        def run(images):
            sizes.append(len(images))
            return embed(images)

        return run

    monkeypatch.setattr(torch, "compile", compiling)
    return sizes


def test_a_compiled_network_sees_batches_of_one_size(checkpoint, plain, eager, tmp_path):
    out = tmp_path / "features.zarr"
    extract_tiny(checkpoint, out, {**CONFIG, "compile": True})
    assert set(eager) == {4}
    found = FeatureStore.open(out)
    assert agrees(found, plain)
    assert found.provenance["extraction"]["compile"] is True
    assert "compile" not in plain.provenance["extraction"]
    assert found.fingerprint != plain.fingerprint


def test_views_have_a_size_of_their_own(eager):
    from ltood.extraction.compiled import Compiled
    from ltood.networks.backbone import ImageSpec, build_backbone

    net = build_backbone("cifar_resnet", {}, ImageSpec(3, 8, 8, (0.5,) * 3, (0.25,) * 3, 2)).eval()
    compiled = Compiled(net, 4, torch.device("cpu"), torch.channels_last)
    images = torch.rand(10, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        found, local = compiled(images)
        torch.testing.assert_close(found, net.embed(images)[0])
    assert eager == [12]
    assert local is None


@pytest.mark.usefixtures("eager")
def test_a_network_that_cannot_be_compiled_is_named(checkpoint, monkeypatch, tmp_path):
    def compiling(embed, **_):
        def run(images):
            raise RuntimeError("no compiler\nis there")

        return run

    monkeypatch.setattr(torch, "compile", compiling)
    with pytest.raises(ConfigError, match=r"extraction\.compile.*no compiler is there"):
        extract_tiny(checkpoint, tmp_path / "features.zarr", {**CONFIG, "compile": True})


def test_a_folded_network_agrees_and_is_repaired_as_such(checkpoint, plain, tmp_path):
    out = tmp_path / "features.zarr"
    extract_tiny(checkpoint, out, {**CONFIG, "fold_batch_norm": True, "extras": ["layers"]})
    found = FeatureStore.open(out)
    assert agrees(found, plain)
    assert found.provenance["extraction"]["fold_batch_norm"] is True
    head = found.head_arrays()
    assert all(np.array_equal(head[key], value) for key, value in plain.head_arrays().items())
    whole = tree(out)
    (out / "test/features/c/0/0").write_bytes(b"")
    with one_thread():
        repair(out, checkpoint, TinyImages(), ExtractionConfig(), device_name="cpu")
    assert tree(out) == whole


@pytest.mark.slow
def test_what_torch_compiles_agrees_and_repeats(checkpoint, plain, tmp_path):
    made = []
    for name in ("first", "second"):
        settings = {**CONFIG, "compile": True}
        extract_tiny(checkpoint, tmp_path / name / "features.zarr", settings)
        made.append(tree(tmp_path / name / "features.zarr"))
    assert made[0] == made[1]
    assert agrees(FeatureStore.open(tmp_path / "first" / "features.zarr"), plain)
