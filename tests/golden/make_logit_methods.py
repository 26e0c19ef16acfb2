"""Cut the golden files of the logit-based and CLIP methods: `python make_... FOLDER`.

FOLDER holds himplos.npz, imood.npz and locoop.npz as the published functions wrote them.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def write(name, arrays):
    np.savez_compressed(HERE / name, **arrays)
    print(f"{name}: {len(arrays)} arrays")


def main(folder):
    with np.load(folder / "imood.npz") as full:
        kept = [f"f64_score_{m}" for m in ("rp_msp", "rp_gradnorm", "rw_energy")]
        write("class_prior.npz", {k: full[k] for k in full if k.startswith(tuple(kept))})
    with np.load(folder / "himplos.npz") as full:
        write("kl_matching.npz", {k: full[k] for k in ("kl_class_prob", "kl", "ood_kl")})
    with np.load(folder / "locoop.npz") as full:
        scores = {k: full[k] for k in full if k.startswith("score/")}
        write("clip_scores.npz", {k.replace("/", "_"): v for k, v in scores.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
