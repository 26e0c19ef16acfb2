"""CIFAR-100: the official images in their binary version, long-tailed.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report,
2009 (the 100-class set, fine labels). The long tail is the first rows of each class in
official order, counts as in Cao, Wei, Gaidon, Arechiga and Ma, NeurIPS 2019 (arXiv:1906.07413):
500, 477, 455 and so on down to 5 at a ratio of 0.01. Nothing is downloaded.
"""

from dataclasses import dataclass

from ltood.datasets._cifar import CifarConfig, CifarImages
from ltood.datasets._cifar_files import CIFAR100

SOURCE = (
    "CIFAR-100 by Krizhevsky, Nair and Hinton, https://www.cs.toronto.edu/~kriz/cifar.html; its "
    "authors state no licence and ask to be cited"
)

_NAMES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
    "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach "
    "couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster "
    "house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree "
    "motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear "
    "pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket "
    "rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar "
    "sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip "
    "turtle wardrobe whale willow_tree wolf woman worm"
)
CLASS_NAMES = tuple(_NAMES.split())


@dataclass(frozen=True)
class Config(CifarConfig):
    """Settings of CIFAR-100, as `CifarConfig` describes them."""

    root: str = "data/sets/cifar100/cifar-100-binary"


class Dataset(CifarImages):
    """CIFAR-100 with outliers; an `ImageDataset`."""

    def __init__(self, config: Config) -> None:
        """Take the settings."""
        super().__init__(CIFAR100, CLASS_NAMES, config)
