"""Cut the golden file of ImOOD's training: `python make_imood_training.py FOLDER`.

FOLDER holds imood.npz as the published functions wrote it. Batch, head and projection of the
same step are in losses.npz.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent

INPUTS = (
    "lambda_W", "lambda_b", "aux_w", "aux_b", "trainpool_queue",
    "pool_feats", "pool_labels", "stream_feats", "stream_labels",
)  # fmt: skip
POOL = ("pool_mean", "pool_covinv", "stream_queue", "stream_count")
STEPS = {
    "ada_oe_none": ("lambda", "aux"),
    "ada_energy_none": ("lambda", "aux"),
    "ada_bin_disc_none": ("lambda",),
    "ada_maha_none": ("lambda", "aux"),
    "ada_bin_disc_pascl": ("lambda", "proj0"),
    "ada_bin_disc_simclr": ("lambda", "proj0"),
}


def main(folder):
    keys = [*INPUTS, *(f"f64_{name}" for name in POOL)]
    for step, others in STEPS.items():
        kinds = ("feats", "head", *others)
        keys += [f"f64_train_{step}_losses", *(f"f64_train_{step}_grad_{k}" for k in kinds)]
        if step.endswith("none"):
            keys += [f"f64_train_{step}_{name}" for name in ("g", "beta", "logdelta", "parts")]
    with np.load(folder / "imood.npz") as full:
        arrays = {key: full[key] for key in keys}
    np.savez_compressed(HERE / "imood_training.npz", **arrays)
    print(f"imood_training.npz: {len(arrays)} arrays")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
