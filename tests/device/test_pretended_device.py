"""The pretended device finds the faults that a GPU would show."""

import pytest
import torch
from pretended_device import pretended_gpu

from ltood.runtime.devices import upload


@pytest.fixture
def gpu():
    with pretended_gpu() as counts:
        yield counts


def there(*size):
    return torch.rand(*size).to("cuda")


def test_numbers_are_those_of_the_cpu(gpu):
    rows = torch.rand(5, 4)
    found = (rows.to("cuda") @ rows.T.to("cuda")).softmax(1).sum(0).cpu()
    assert torch.equal(found, (rows @ rows.T).softmax(1).sum(0))
    moved = there(3, 4)
    assert moved.is_cuda
    assert moved.device == torch.device("cuda:0")
    assert torch.zeros(2, device=moved.device).is_cuda
    assert moved.new_zeros(2).is_cuda


def test_tensors_of_two_devices_are_refused(gpu):
    on_gpu, on_cpu = there(3), torch.rand(3)
    for mixed in (
        lambda: on_gpu + on_cpu,
        lambda: torch.cat([on_gpu, on_cpu]),
        lambda: on_gpu.index_add_(0, torch.arange(3), on_cpu),
        lambda: torch.where(on_gpu > 0, on_gpu, on_cpu),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()
    with pytest.raises(TypeError, match="convert cuda"):
        on_gpu.numpy()
    assert (on_gpu * torch.tensor(2.0)).is_cuda  # Single numbers may lie anywhere.


@pytest.mark.parametrize(
    "wait",
    [
        lambda rows: rows[0].item(),
        lambda rows: bool(rows.any()),
        lambda rows: float(rows.sum()),
        lambda rows: rows.tolist(),
        lambda rows: rows.cpu(),
        lambda rows: rows[rows > 0.5],
        lambda rows: rows.nonzero(),
        lambda rows: rows[[0, 1]],
        lambda rows: rows[torch.tensor([0, 1])],
        lambda rows: torch.rand(3).to(rows.device),
        lambda rows: torch.rand(3).to(rows.device, non_blocking=True),  # Of pageable memory.
        lambda rows: torch.cuda.synchronize(),
    ],
)
def test_waits_of_the_host_are_counted_by_line(gpu, wait):
    rows = there(4)
    gpu.reset()
    wait(rows)
    assert sum(gpu.waits.values()) >= 1
    assert all("test_pretended_device.py" in why for why in gpu.waits)


def test_what_does_not_wait_is_not_counted(gpu):
    rows = there(4, 4)
    gpu.reset()
    torch.where(rows > 0.5, rows, 0.0).topk(2, dim=1).values.sum()
    rows[rows.argmax(dim=1)]
    upload(torch.arange(4), rows.device)
    assert not gpu.waits
    assert gpu.uploads == 1
    assert gpu.kernels > 4


def test_additions_in_any_order_are_counted_or_refused(gpu):
    total, places, rows = there(3), torch.zeros(5, dtype=torch.int64).to("cuda"), there(5)
    gpu.reset()
    total.index_add_(0, places, rows)
    torch.bincount(places, rows)
    assert len(gpu.unordered) == 2
    gpu.reset()
    torch.bincount(places)
    torch.use_deterministic_algorithms(True)
    try:
        total.index_add_(0, places, rows)
        assert not gpu.unordered
        with pytest.raises(RuntimeError, match="deterministic"):
            torch.bincount(places, rows)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.bincount(places, rows)
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(gpu.unordered) == 1


def test_gradients_and_modules_lie_there(gpu):
    layer = torch.nn.Linear(4, 2).to("cuda")
    layer(there(3, 4)).sum().backward()
    assert layer.weight.is_cuda
    assert layer.weight.grad.is_cuda
    torch.optim.SGD(layer.parameters(), 0.1).step()


def test_a_shape_that_changes_in_place_is_seen_outside(gpu):
    row = there(4)
    product = row @ there(4, 3)
    assert product.shape == (3,)
    assert (product @ there(3, 2)).shape == (2,)


def test_everything_is_put_back():
    with pretended_gpu():
        assert torch.cuda.is_available()
    assert not isinstance(torch.rand(2), torch.nn.Parameter)
    with torch.inference_mode():
        assert torch.rand(2).is_inference()
