"""Cut metrics.npz out of complete golden files: `python make_metrics.py FOLDER`.

FOLDER holds patt.npz, himplos.npz and imood.npz as the published evaluation code wrote
them. Conventions, as stored (fractions):

- `patt_*`: higher = more OOD, OOD positive, rows with sc_label >= 0 moved to the ID side;
  AUROC, AP-in, AP-out, FPR95 and FPR at recall .98, .95, .90, .80.
- `himplos_*`: higher = more ID, ID positive; AUROC, AP-in, AP-out, FPR95.
- `imood_*`: higher = more OOD, OOD positive; AUROC, AP-out, FPR95, threshold; `plain` as
  they are, `moved` with sc_label >= 0 on the ID side, `tied` on rounded scores.
- `shot_*`, `acc_*`: accuracies of PATT and ImOOD by many, medium and few.
"""

import sys
from pathlib import Path

import numpy as np

HIMPLOS = ("himplos", "msp", "energy", "react", "dice", "line_pw10_pa10", "bats", "gradnorm")
IMOOD = ("msp", "energy", "bkg_c", "bin_disc", "mc_disc", "rp_msp", "gradnorm", "rp_gradnorm")
IMOOD_ADA = ("rw_energy", "maha", "ada_bin_disc", "ada_msp", "ada_energy", "ada_maha")


def patt(full):
    for name in ("fc", "nofc", "msp", "ties"):
        for part in ("in_scores", "ood_scores", "sc_labels"):
            yield f"patt_{name}_{part}", full[f"met_{name}_{part}"]
        scores = full[f"met_{name}_auroc_auprin_auprout_fpr95_meanood_meanid"]
        yield f"patt_{name}_expected", scores[:4]
        yield f"patt_{name}_fpr_at", full[f"met_{name}_fpr_at_recall_98_95_90_80"]
    yield from ((key, full[key]) for key in full if key.startswith("shot_c"))


def himplos(full):
    for name in (*HIMPLOS, "mahalanobis_raw"):
        yield f"himplos_{name}_id", full[name]
        yield f"himplos_{name}_ood", full[f"ood_{name}"]
        yield f"himplos_{name}_expected", full[f"metrics_{name}"]
    for name in ("ties", "small"):
        yield f"himplos_{name}_id", full[f"{name}_in"]
        yield f"himplos_{name}_ood", full[f"{name}_out"]
        yield f"himplos_{name}_expected", full[f"metrics_{name}"]


def imood(full):
    yield "imood_sc_labels", full["ood_sc_labels"]
    for name in (*IMOOD, *IMOOD_ADA, "ada_gradnorm"):
        yield f"imood_{name}_id", full[f"f64_score_{name}_id"]
        yield f"imood_{name}_ood", full[f"f64_score_{name}_ood"]
        yield f"imood_{name}_plain", full[f"f64_metrics_{name}"]
        yield f"imood_{name}_moved", full[f"f64_metrics_scood_{name}"]
    for name in ("msp", "ada_msp"):
        yield f"imood_{name}_tied_id", full[f"f64_tied12_{name}_id"]
        yield f"imood_{name}_tied_ood", full[f"f64_tied12_{name}_ood"]
        yield f"imood_{name}_tied", full[f"f64_metrics_tied12_{name}"]
    for key in ("class_counts", "id_labels", "id_pred", "lt_thresholds"):
        yield f"acc_{key}", full[key]
    yield from ((key, full[key]) for key in full if key.startswith(("acc_", "lt_counts_")))


def main():
    arrays = {}
    for make in (patt, himplos, imood):
        with np.load(Path(sys.argv[1]) / f"{make.__name__}.npz", allow_pickle=False) as archive:
            arrays.update(make(dict(archive)))
    path = Path(__file__).with_name("metrics.npz")
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
