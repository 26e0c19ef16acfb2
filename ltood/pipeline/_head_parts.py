"""Whether the head that a pipeline makes will have the parts that the chosen method reads."""

from ltood.core.errors import ConfigError
from ltood.core.registry import flag
from ltood.pipeline._params import Params

#: Line of a method's file, read without importing it: it reads parts that few heads have.
HEAD_PARTS = "HEAD_PARTS"


def reads_parts(params: Params) -> bool:
    """Whether the chosen method says that it reads such parts.

    Raises:
        UnknownNameError: If there is no such method.
    """
    return flag("methods", params.name("method"), HEAD_PARTS)


def check_head_parts(params: Params) -> None:
    """Refuse a method whose part of the head neither recipe nor negative labels will give.

    Raises:
        ConfigError: Naming the part, and what gives it.
    """
    if not reads_parts(params):
        return
    from ltood.core.inputs import Need
    from ltood.core.prior import ClassPrior
    from ltood.negatives.settings import NegativesConfig

    method, recipe = params.chosen("method"), params.chosen("recipe")
    needs = method.module.Entry(method.config).needs
    words = params.section("negatives", NegativesConfig).words
    # How many outputs there are does not depend on the class counts.
    made = recipe.module.Entry(recipe.config, ClassPrior.uniform(10))
    num_nodes = made.num_aux_outputs - made.num_outlier_classes
    trained = f"the recipe {recipe.name} trains none; choose"
    lacking = {
        Need.NEGATIVES: (
            words is None,
            "negatives.words is null; set it to a list that `ltood negatives` made",
        ),
        Need.OUTLIER_CLASSES: (
            not made.num_outlier_classes,
            f"{trained} one that does, such as cocl or eat",
        ),
        Need.AUX_OUTPUTS: (not num_nodes, f"{trained} one that does, such as bin_disc or imood"),
    }
    for need, (is_absent, remedy) in lacking.items():
        if need in needs and is_absent:
            raise ConfigError(
                f"method {method.name} needs {need.value}, but {remedy}, or another method."
            )
