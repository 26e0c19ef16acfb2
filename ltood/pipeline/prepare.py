"""Read the dataset, cut the long tail and write plain arrays."""

from ltood.pipeline._shell import PREPARED, Params, stage
from ltood.pipeline._watched import HASHES
from ltood.runtime.workspace import locate


@stage("prepare")
def run(params: Params) -> None:
    """Read the images of the dataset, write them as arrays."""
    chosen = params.chosen("dataset")

    from ltood.preparing.prepare import prepare

    dataset = chosen.module.Dataset(chosen.config)
    prepare(dataset, chosen.name, chosen.settings, PREPARED, locate(HASHES))
