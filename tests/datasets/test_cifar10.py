"""What is CIFAR-10's own; the rest is in test_cifar_sets.py."""

from ltood.datasets import CIFAR10 as FILES
from ltood.datasets.cifar10 import CLASS_NAMES, Config


def test_names_run_in_label_order():
    assert (CLASS_NAMES[0], CLASS_NAMES[-1]) == ("airplane", "truck")


def test_messages_name_its_own_section():
    assert FILES.setting == f"{Config.section}.root" == "datasets.cifar10.root"
