"""Cut the golden file of the losses with auxiliary outliers: `python make_losses.py FOLDER`.

FOLDER holds imood.npz and patt.npz as the published functions wrote them.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent

IMOOD = (
    "class_counts", "train_feats", "train_labels", "W_in", "b_in", "W_extra", "b_extra",
    "proj0_W", "proj0_b", "proj2_W", "proj2_b",
    "f64_train_oe_none_losses", "f64_train_oe_none_grad_feats", "f64_train_oe_none_grad_head",
    "f64_train_energy_none_losses", "f64_train_energy_none_grad_feats",
    "f64_train_energy_none_grad_head",
    "f64_train_bin_disc_none_losses", "f64_train_bin_disc_none_grad_feats",
    "f64_train_bin_disc_none_grad_head",
    "f64_train_oe_pascl_losses", "f64_train_oe_pascl_grad_feats",
    "f64_train_oe_pascl_grad_head", "f64_train_oe_pascl_grad_proj0",
)  # fmt: skip
PATT = (
    "cls_ood_logits", "oe_loss_f64", "oe_grad_f64",
    "pascl_labels", "pascl_tail_threshold", "pascl_proj_view1", "pascl_proj_view2",
    "pascl_proj_ood", "pascl_cl_loss_T0p07_f64", "pascl_cl_grad_view1_T0p07_f64",
    "pascl_cl_grad_ood_T0p07_f64", "pascl_cl_loss_T0p20_f64", "pascl_cl_grad_view1_T0p20_f64",
    "pascl_cl_grad_ood_T0p20_f64",
)  # fmt: skip


def main(folder):
    arrays = {}
    for name, keys in (("imood", IMOOD), ("patt", PATT)):
        with np.load(folder / f"{name}.npz") as full:
            arrays |= {key: full[key] for key in keys}
    np.savez_compressed(HERE / "losses.npz", **arrays)
    print(f"losses.npz: {len(arrays)} arrays")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
