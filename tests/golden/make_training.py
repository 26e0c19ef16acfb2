"""Cut the golden files of PATT's training losses: `python make_training.py FOLDER`.

FOLDER holds patt.npz as the published functions wrote them.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def write(name, arrays):
    np.savez_compressed(HERE / name, **arrays)
    print(f"{name}: {len(arrays)} arrays")


def patt(full):
    starts = ("bessel_", "tla_", "oe_", "cls_", "total_loss_")
    kept = {k: full[k] for k in full if k.startswith(starts) and "f32" not in k}
    write("patt_losses.npz", {**kept, "log_prior": full["log_prior_f64"]})
    common = {k: full[k] for k in ("vmf_init_ave", "vmf_labels", "vmf_temperature")}
    for kind in ("norm", "raw", "edge"):
        results = ("ave", "amount", "kappa", "logc", "logits", "isac_loss")
        arrays = {k: full[f"vmf_{kind}_{k}_f64"] for k in results}
        arrays |= {
            k: full[f"vmf_{kind}_{k}"]
            for k in ("logits_exact_last", "logc_exact_last", "isac_loss_exact_last")
        }
        # Every third row of the gradients, and no earlier means, keeps the files small.
        arrays["ave"], arrays["logits"] = arrays["ave"][-1], arrays["logits"][-1]
        arrays["grad_rows"] = full[f"vmf_{kind}_grad_f64"][-1, ::3]
        write(f"patt_{kind}.npz", {**arrays, "feat": full[f"vmf_feat_{kind}"], **common})


def main(folder):
    with np.load(folder / "patt.npz") as full:
        patt(full)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
