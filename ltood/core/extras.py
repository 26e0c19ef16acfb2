"""Extra arrays of a feature store: what entries need of images beyond features and logits.

A group of extra arrays is computed for the images in one go, such as the features of images that
were perturbed. In a batch they have names such as "odin/features", which an entry lists in its
`arrays`. An entry says which groups it reads in a line of its file that is read and not run, so
that extraction can compute them without importing it:

    EXTRAS = ("odin",)

Only what is asked for is computed; see docs/how-to/extra-arrays.md.
"""

from ltood.core.errors import MissingNeedError
from ltood.core.holding import held
from ltood.core.registry import constant

#: Name of the line.
EXTRAS = "EXTRAS"
#: Groups that extraction can compute, with what they hold.
GROUPS = {
    "odin": "features of images moved a little towards their predicted class",
    "adascale": "features of images moved where the largest logit depends on them least",
    "pooling": "maximum and standard deviation of the last feature map",
    "maps": "the last feature map: features of each place, before their mean is taken",
    "layers": "means of the feature maps of several layers",
    "gram": "row sums of Gram matrices of several layers, at several orders",
}
#: Module that computes a group. Loaded by name, so that its code counts for this group alone.
MODULES = {
    "odin": "ltood.extraction.perturbed",
    "adascale": "ltood.extraction.perturbed",
    "pooling": "ltood.extraction.maps",
    "maps": "ltood.extraction.places",
    "layers": "ltood.extraction.layers",
    "gram": "ltood.extraction.gram",
}
_BETWEEN = "/"


def extra_name(group: str, array: str) -> str:
    """Name of an extra array in a batch, such as "odin/features"."""
    return f"{group}{_BETWEEN}{array}"


def parted_extra(name: str) -> tuple[str, str]:
    """Group and own name of an array; no group where it is not an extra one."""
    group, between, array = name.partition(_BETWEEN)
    return (group, array) if between else ("", name)


def extra_arrays(arrays: tuple[str, ...]) -> list[str]:
    """Those of some arrays of the present store that are extra ones."""
    return [name for name in arrays if "@" not in name and parted_extra(name)[0]]


def groups_of(package: str, name: str, settings: object) -> set[str]:
    """Groups that an entry reads, or that an entry which it holds reads.

    Args:
        package: Such as "methods".
        name: Such as "odin".
        settings: Its settings as they are written, unchecked.

    Raises:
        UnknownNameError: If there is no entry of a name.
    """
    entries = [(package, name), *held(package, name, settings)]
    return {group for entry in entries for group in constant(*entry, EXTRAS) or ()}


def missing_extra(what: str, name: str) -> MissingNeedError:
    """The error about an extra array that is not there.

    Args:
        what: What needs it, such as "method odin".
        name: The array, such as "odin/features".
    """
    group = parted_extra(name)[0]
    # The group pooling is what other poolings are made of; no other group is seen through them.
    average = "" if group == "pooling" else ", and with pooling.kind: average"
    return MissingNeedError(
        f"{what} needs the extra array {name} ({GROUPS.get(group, 'unknown')}), which is not "
        f"there; run extract with this method, or with extraction.extras: [{group}]{average}."
    )
