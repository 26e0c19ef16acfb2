"""Arrays of a classifier head and their shapes; needs no torch."""

from collections.abc import Mapping

from ltood.core.errors import DataError

#: Every array of a head and its shape: C classes, D features, e auxiliary outputs, M negative
#: labels, m experts. The order is that of the arrays in a store.
HEAD_SHAPES: dict[str, tuple[str | int, ...]] = {
    "weight": ("C", "D"),
    "bias": ("C",),
    "extra_weight": ("e", "D"),
    "extra_bias": ("e",),
    "bn_weight": ("D",),
    "bn_bias": ("D",),
    "logit_scale": (),
    "frozen_weight": ("C", "D"),
    "frozen_copies": (),
    "gamma_weight": ("C", "D"),
    "gamma_bias": ("C",),
    "energy_map": (2,),
    "msp_map": (2,),
    "mahalanobis_map": (2,),
    "negative_weight": ("M", "D"),
    "no_weight": ("C", "D"),
    "outlier_classes": (),
    "expert_weight": ("m", "C + e", "D"),
    "expert_bias": ("m", "C + e"),
    "outlier_shares": ("C",),
}

#: Arrays that are only valid together.
HEAD_PAIRS = (
    ("extra_weight", "extra_bias"),
    ("gamma_weight", "gamma_bias"),
    ("frozen_weight", "frozen_copies"),
    ("expert_weight", "expert_bias"),
)


def check_head(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Refuse arrays of a head whose shapes do not agree.

    Args:
        shapes: Shape of each array of the head, by name.

    Returns:
        The sizes "C", "D", "e" and "M" (0 without auxiliary outputs or negative labels).

    Raises:
        DataError: On an unknown or missing array, or a shape that does not fit the weight.
    """
    if unknown := set(shapes) - set(HEAD_SHAPES):
        raise DataError(
            f"the head has unknown arrays {sorted(unknown)}; known are {', '.join(HEAD_SHAPES)}."
        )
    if missing := [name for name in ("weight", "bias") if name not in shapes]:
        raise DataError(f"the head has no {missing[0]}; it needs weight [C, D] and bias [C].")
    if len(shapes["weight"]) != 2:
        raise DataError(f"head weight has shape {shapes['weight']}; it must be [C, D].")
    for weights, biases in HEAD_PAIRS:
        if (weights in shapes) != (biases in shapes):
            raise DataError(f"head {weights} and {biases} must be given together.")
    # An array of too few axes is refused below, with its name.
    aux, negatives, experts = (
        shapes.get(name) or (0,) for name in ("extra_bias", "negative_weight", "expert_bias")
    )
    sizes = {
        "C": shapes["weight"][0],
        "D": shapes["weight"][1],
        "e": aux[0],
        "M": negatives[0],
    }
    known = {**sizes, "m": experts[0], "C + e": sizes["C"] + sizes["e"]}
    for name, shape in shapes.items():
        wanted = tuple(known[size] if isinstance(size, str) else size for size in HEAD_SHAPES[name])
        if shape != wanted:
            turned = name == "bias" and shape == shapes["weight"][1:]
            raise DataError(
                f"head {name} has shape {shape}; with a weight of {sizes['C']} classes x "
                f"{sizes['D']} features it must be {wanted}."
                f"{' The weight seems to be [D, C]; transpose it to [C, D].' if turned else ''}"
            )
    if "negative_weight" in shapes and sizes["M"] == 0:
        raise DataError("head negative_weight has no rows; give a negative label or leave it out.")
    return sizes
