import pytest
import torch

from ltood.core.devices import choose_device
from ltood.core.errors import ConfigError


def test_names_that_are_there():
    assert choose_device("cpu") == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "", "mps"])
def test_unknown_names(name):
    with pytest.raises(ConfigError, match="it must be auto, cpu, cuda or cuda:<number>"):
        choose_device(name)


def test_a_gpu_that_is_not_there():
    with pytest.raises(ConfigError, match="CUDA devices are there; choose auto or cpu"):
        choose_device("cuda:99")
