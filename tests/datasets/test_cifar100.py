"""What is CIFAR-100's own; the rest is in test_cifar_sets.py."""

from ltood.datasets import CIFAR100 as FILES
from ltood.datasets.cifar100 import CLASS_NAMES, Config


def test_names_run_in_label_order():
    assert (CLASS_NAMES[0], CLASS_NAMES[-1]) == ("apple", "worm")


def test_messages_name_its_own_section():
    assert FILES.setting == f"{Config.section}.root" == "datasets.cifar100.root"
