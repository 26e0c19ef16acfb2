r"""A small CLIP for trying the pipeline without published weights, trained on the demo images.

    python benchmarks/make_small_clip.py FOLDER [--steps 300] [--seed 0]

Writes small_clip.json, a configuration in open_clip's format, and small_clip.safetensors, weights
with OpenAI's names, to FOLDER (data/weights is where the train stage looks). What it is:
`ltood/tables/small_clip.py`. Then:

    dvc exp run -S backbone=clip -S recipe=locoop -S method=gl_mcm \
        -S backbones.clip.model=FOLDER/small_clip.json -S backbones.clip.views=4 \
        -S training.weights=FOLDER/small_clip.safetensors
"""

import argparse
from pathlib import Path

from ltood.tables.small_clip import make


def main() -> None:
    """Write configuration and weights."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config, weights = make(options.folder, options.steps, options.seed)
    print(f"{config} and {weights}")


if __name__ == "__main__":
    main()
