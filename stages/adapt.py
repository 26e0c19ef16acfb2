"""Make the head from text where the recipe does so, or note that the stored one stays.

Learned prompts read the feature store; no image is encoded. A killed run goes on where it
stopped.
"""

import click

from stages._shell import ADAPTING, CHECKPOINT, FEATURES, HEAD, choice, plain_errors, value


@click.command(help=__doc__)
@plain_errors
def main() -> None:
    """Read features and the text side of the checkpoint, write the head."""
    from ltood.core.registry import flag
    from ltood.core.settings import to_section
    from ltood.store.adapted import write_adapted

    recipe = value("recipe")
    if not flag("recipes", str(recipe), "ADAPTS_HEAD"):  # Nothing to make: no torch, no waiting.
        write_adapted(HEAD, None)
        return
    name, _, config = choice("recipe", "recipes")

    from ltood.adapting.adapt import adapt
    from ltood.adapting.encoders import text_encoder
    from ltood.store.features import FeatureStore

    adapt(
        FeatureStore.open(FEATURES),
        name,
        to_section(config),
        text_encoder(CHECKPOINT),
        HEAD,
        state_folder=ADAPTING,
        seed=value("seed"),
        device_name=value("device"),
    )


if __name__ == "__main__":
    main()
