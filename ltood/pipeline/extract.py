"""Run the backbone over every split and store features, logits and head.

A killed run continues where it stopped. Several processes share the work where torchrun starts
them: torchrun --nproc-per-node 2 --no-python ltood stage extract
"""

from ltood.pipeline._shell import CHECKPOINT, EXTRACTING, FEATURES, PREPARED, Params, stage


@stage("extract")
def run(params: Params) -> None:
    """Read checkpoint and prepared images, write the feature store."""
    from ltood.extraction.config import ExtractionConfig
    from ltood.extraction.extract import extract
    from ltood.extraction.trained import refuse_other_images
    from ltood.images.prepared import open_prepared
    from ltood.pipeline._code import wanted_extras
    from ltood.runtime.distributed import ranks_from_environment
    from ltood.runtime.process import keep_freed_memory

    keep_freed_memory()
    config = params.section("extraction", ExtractionConfig)
    data = open_prepared(PREPARED)
    refuse_other_images(CHECKPOINT, data)
    with ranks_from_environment() as ranks:
        extract(
            CHECKPOINT,
            data,
            FEATURES,
            config,
            kept=EXTRACTING,
            device_name=params.device,
            ranks=ranks,
            extras=wanted_extras(params),
        )
