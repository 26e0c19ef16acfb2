"""Cut the golden file of CLIP's image towers: `python make_image_towers.py FOLDER`.

FOLDER holds locoop.npz as the published functions wrote it, in float32 and with small random
weights. The text tower's weights, which make the transformer's model whole, lie in
text_tower.npz.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def main(folder):
    with np.load(folder / "locoop.npz") as full:
        starts = ("vit_w/visual.", "vit/", "rn_w/", "rn/")
        kept = {
            key: full[key]
            for key in full
            if key.startswith(starts) and not key.endswith("num_batches_tracked")
        }
    np.savez_compressed(HERE / "image_towers.npz", **kept)
    print(f"image_towers.npz: {len(kept)} arrays")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
