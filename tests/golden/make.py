"""Cut the golden files of the trunk out of complete ones: `python make.py FOLDER`.

FOLDER holds himplos.npz, patt.npz and imood.npz as the published functions wrote them
(inputs, and outputs in float64 and float32). Only the arrays that tests compare are
kept, in plain compressed archives below 100 kB.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent

#: Arrays of himplos.npz that no test reads: large, or of methods that need images.
LEFT_OUT = ("precision", "metrics", "ties", "small", "odin", "kl")


def write(name, arrays):
    np.savez_compressed(HERE / name, **arrays)
    size = (HERE / name).stat().st_size
    print(f"{name}: {len(arrays)} arrays, {size / 1000:.0f} kB")


def himplos(full):
    write(
        "himplos.npz", {k: full[k] for k in full if not k.removeprefix("ood_").startswith(LEFT_OUT)}
    )


def patt(full):
    head = ("counts", "head_weight", "head_bias")
    results = [
        k
        for k in full
        if k.startswith(("fc_cifar", "fc_imagenet", "fcmean"))
        and k.endswith("_f64")
        and any(kind in k for kind in ("final_score", "attention", "delta", "energy"))
        and "second_call" not in k
    ]
    write("patt.npz", {k: full[k] for k in (*head, *results, "fc_feat_id", "fc_labels_id")})
    outliers = full["fc_feat_ood"]
    write("patt_outliers.npz", {"fc_feat_ood": outliers})
    rows = {k: full[k].astype(np.float32) for k in ("test_feat_id", "test_feat_ood")}
    write("patt_rows.npz", rows)


def imood(full):
    inputs = ("class_counts", "id_feats", "id_labels", "ood_feats", "W_in", "b_in", "W_extra")
    inputs += ("b_extra", "pool_feats", "pool_labels")
    bases = ("msp", "energy", "bin_disc", "gradnorm", "maha")
    kept = [f"f64_score_{m}_{s}" for m in bases for s in ("id", "ood")]
    kept += [
        f"f64_score_ada_{m}{tau}_{s}"
        for m in bases
        for tau in ("", "_tau050", "_tau000")
        for s in ("id", "ood")
    ]
    kept += [f"f64_{k}_{s}" for k in ("logbeta_posthoc", "maha_mindist") for s in ("id", "ood")]
    write("imood.npz", {k: full[k] for k in (*inputs, *kept)})


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for make in (himplos, patt, imood):
        make(dict(np.load(folder / f"{make.__name__}.npz")))
