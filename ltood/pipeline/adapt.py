"""Make the head from text or rows where the recipe does so, or note that the stored one stays.

Learned prompts and layers read the feature store; no image is encoded. A killed run continues
where it stopped. Negative labels, where the settings name words, join a head from text.
"""

from ltood.pipeline._shell import ADAPTING, CHECKPOINT, FEATURES, HEAD, Params, stage


@stage("adapt")
def run(params: Params) -> None:
    """Read features, and the text side of the checkpoint where it counts; write the head."""
    from ltood.core.registry import flag
    from ltood.negatives.settings import NegativesConfig
    from ltood.store.adapted import write_adapted

    negatives = params.section("negatives", NegativesConfig)

    if not flag(
        "recipes", params.name("recipe"), "ADAPTS_HEAD"
    ):  # Nothing to make: no torch, no waiting.
        write_adapted(HEAD, None)
        return
    recipe = params.chosen("recipe")

    from ltood.adapting.adapt import adapt
    from ltood.adapting.encoders import text_encoder
    from ltood.adapting.negatives import set_negatives
    from ltood.recipes import TextHeadRecipe
    from ltood.store.features import FeatureStore

    reads_text = issubclass(recipe.module.Entry, TextHeadRecipe)
    store, encoder = FeatureStore.open(FEATURES), text_encoder(CHECKPOINT) if reads_text else None
    adapt(
        store,
        recipe.name,
        recipe.settings,
        encoder,
        HEAD,
        state_folder=ADAPTING,
        seed=params.seed,
        device_name=params.device,
    )
    set_negatives(store, negatives, encoder, HEAD, state_folder=ADAPTING, device_name=params.device)
