"""Train the chosen backbone with the chosen recipe; a killed run continues where it stopped."""

from ltood.pipeline import _watched
from ltood.pipeline._shell import CHECKPOINT, PREPARED, TRAINING, Params, stage


@stage("train")
def run(params: Params) -> None:
    """Read prepared images, write the checkpoint."""
    from ltood.images.prepared import open_prepared
    from ltood.runtime.process import keep_freed_memory
    from ltood.training.plan import Plan, TrainingConfig

    keep_freed_memory()
    # Settings and data are checked before torch is loaded, which takes seconds.
    config = params.section("training", TrainingConfig)
    data = open_prepared(PREPARED)
    backbone, recipe = params.chosen("backbone"), params.chosen("recipe")

    from ltood.runtime.distributed import ranks_from_environment
    from ltood.training.train import train

    plan = Plan(backbone.name, backbone.settings, recipe.name, recipe.settings, config, params.seed)
    with ranks_from_environment() as ranks:
        train(
            plan,
            data,
            CHECKPOINT,
            params.device,
            state_folder=TRAINING,
            weights_sha256=_watched.weights(params)["weights"],
            ranks=ranks,
        )
