"""Train the chosen backbone with the chosen recipe; a killed run goes on where it stopped."""

import click

from stages._shell import CHECKPOINT, PREPARED, choice, params, plain_errors, value


@click.command(help=__doc__)
@plain_errors
def main() -> None:
    """Read prepared images, write the checkpoint."""
    from ltood.core.settings import parse, to_section
    from ltood.preparing.prepare import open_prepared
    from ltood.runtime.process import keep_freed_memory
    from ltood.training.plan import Plan, TrainingConfig

    keep_freed_memory()
    # Settings and data are checked before torch is loaded, which takes seconds.
    config = parse(params().get("training"), TrainingConfig, "training")
    data = open_prepared(PREPARED)
    backbone, _, backbone_config = choice("backbone", "backbones")
    recipe, _, recipe_config = choice("recipe", "recipes")

    from ltood.runtime.distributed import ranks_from_environment
    from ltood.training.train import train

    plan = Plan(
        backbone,
        to_section(backbone_config),
        recipe,
        to_section(recipe_config),
        config,
        value("seed"),
    )
    with ranks_from_environment() as ranks:
        train(plan, data, CHECKPOINT, value("device"), ranks=ranks)


if __name__ == "__main__":
    main()
