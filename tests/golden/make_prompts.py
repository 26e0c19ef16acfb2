"""Cut the golden files of prompt learning: `python make_prompts.py FOLDER`.

FOLDER holds locoop.npz as the published functions wrote it, in float32 and with small random
weights.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def write(name, arrays):
    np.savez_compressed(HERE / name, **arrays)
    print(f"{name}: {len(arrays)} arrays")


def main(folder):
    with np.load(folder / "locoop.npz") as full:
        tower = {
            key: full[key]
            for key in full
            if key.startswith("vit_w/") and not key.startswith("vit_w/visual.")
        }
        write("text_tower.npz", {key.removeprefix("vit_w/"): tower[key] for key in tower})
        starts = ("prompt/", "train/", "vit/global", "vit/local")
        kept = [key for key in full if key.startswith(starts) and "embeddings" not in key]
        write("prompts.npz", {key: full[key] for key in kept})
        kept = [key for key in full if key.startswith("loss/")]
        write("local_entropy.npz", {key: full[key] for key in kept})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
