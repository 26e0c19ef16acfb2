"""Columns of the papers' tables, as their official code computes them."""

import difflib
from dataclasses import dataclass

from ltood.core.errors import UnknownNameError

Column = tuple[str, str]


@dataclass(frozen=True)
class PaperTable:
    """The table of one paper or of several that agree.

    Attributes:
        papers: Who prints it.
        columns: Title as printed and key in metrics.json, from left to right.
        averaged: What its mean is taken over.
    """

    papers: str
    columns: tuple[Column, ...]
    averaged: str = "mean over the OOD sets"


COLUMNS: dict[str, PaperTable] = {
    "pascl": PaperTable(
        "PASCL, ImOOD", (("AUROC", "auroc"), ("AUPR", "ap_out"), ("FPR95", "fpr95_ood_pos"))
    ),
    "patt": PaperTable(
        "PATT",
        (
            ("AUROC", "auroc"),
            ("AUPR-in", "ap_in"),
            ("AUPR-out", "ap_out"),
            ("FPR95", "fpr95_ood_pos"),
        ),
    ),
    "himplos": PaperTable(
        "HIMPLoS",
        (
            ("FPR95", "fpr95_id_pos"),
            ("AUROC", "auroc"),
            ("AUPR-in", "ap_in"),
            ("AUPR-out", "ap_out"),
        ),
    ),
    "locoop": PaperTable("LoCoOp, MCM", (("FPR95", "fpr95_id_pos"), ("AUROC", "auroc"))),
    "eat": PaperTable(
        "PASCL, EAT",
        (
            ("ACC@FPR0", "acc_at_fpr_1e-4"),
            ("ACC@FPR.001", "acc_at_fpr_1e-3"),
            ("ACC@FPR.01", "acc_at_fpr_1e-2"),
            ("ACC@FPR.1", "acc_at_fpr_1e-1"),
            ("ACC@TPR.98", "acc_at_tpr_98"),
            ("ACC@TPR.95", "acc_at_tpr_95"),
            ("ACC@TPR.90", "acc_at_tpr_90"),
            ("ACC@TPR.80", "acc_at_tpr_80"),
        ),
    ),
    "openood": PaperTable(
        "OpenOOD",
        (
            ("FPR@95", "fpr95_ood_pos_first"),
            ("AUROC", "auroc"),
            ("AUPR_IN", "aupr_in"),
            ("AUPR_OUT", "aupr_out"),
        ),
        "mean over the near and over the far sets, separately",
    ),
}


def columns_of(name: str) -> tuple[Column, ...]:
    """Columns of a paper's table: titles with their keys in metrics.json.

    Raises:
        UnknownNameError: If there is no such table.
    """
    if name not in COLUMNS:
        near = difflib.get_close_matches(name, COLUMNS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UnknownNameError(f"No columns {name!r}.{hint} Known: {', '.join(COLUMNS)}.")
    return COLUMNS[name].columns
