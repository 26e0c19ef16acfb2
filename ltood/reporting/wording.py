"""What the report says in words: metric names, conventions and where to compare.

The columns and the papers that print them follow the official evaluation code of
PASCL, PATT, ImOOD, HIMPLoS, LoCoOp and OpenOOD.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One metric of the table per OOD set.

    Attributes:
        key: Key in metrics.json.
        group: Heading over the columns that belong together.
        title: Short heading of this column.
        meaning: One sentence for a reader who meets the metric for the first time.
        printed_by: Papers and libraries whose tables print it.
        higher_is_better: Which end is best.
        is_count: Whether the value is a number of images instead of a fraction.
    """

    key: str
    group: str
    title: str
    meaning: str
    printed_by: str
    higher_is_better: bool = True
    is_count: bool = False


_SEPARATION = "Separation"
_FPR = "FPR at 95 % recall"
_OUT = "Precision-recall, OOD positive"
_IN = "Precision-recall, ID positive"
_IMAGES = "Images"

COLUMNS = (
    Column(
        "auroc",
        _SEPARATION,
        "AUROC",
        "Chance that a random OOD image scores higher than a random ID image; 50 is guessing, "
        "100 is perfect. The same whichever side is called positive.",
        "everyone",
    ),
    Column(
        "fpr95_ood_pos",
        _FPR,
        "OOD positive",
        "Share of ID images that raise a false alarm when the threshold catches 95 % of the OOD "
        "images.",
        "PASCL, PATT, ImOOD",
        higher_is_better=False,
    ),
    Column(
        "fpr95_id_pos",
        _FPR,
        "ID positive",
        "Share of OOD images that slip through when the threshold accepts 95 % of the ID images.",
        "HIMPLoS, LoCoOp, MCM",
        higher_is_better=False,
    ),
    Column(
        "fpr95_ood_pos_first",
        _FPR,
        "OOD positive, first",
        "As “OOD positive”, at the first threshold that reaches 95 % instead of the nearest one.",
        "OpenOOD, pytorch-ood",
        higher_is_better=False,
    ),
    Column(
        "fpr95_id_pos_first",
        _FPR,
        "ID positive, first",
        "As “ID positive”, at the first threshold that reaches 95 % instead of the nearest one.",
        "no table known to us",
        higher_is_better=False,
    ),
    Column(
        "ap_out",
        _OUT,
        "AP",
        "Average precision in steps: of the images flagged as OOD, how many are, averaged over "
        "all recalls. Depends on the share of OOD images.",
        "PASCL, PATT, ImOOD, HIMPLoS",
    ),
    Column(
        "aupr_out",
        _OUT,
        "AUPR",
        "The same area by the trapezoid rule.",
        "OpenOOD, pytorch-ood",
    ),
    Column(
        "ap_in",
        _IN,
        "AP",
        "Average precision in steps: of the images accepted as ID, how many are, averaged over "
        "all recalls.",
        "PATT, HIMPLoS",
    ),
    Column(
        "aupr_in",
        _IN,
        "AUPR",
        "The same area by the trapezoid rule.",
        "OpenOOD, pytorch-ood",
    ),
    Column("num_id", _IMAGES, "ID", "ID images compared.", "", is_count=True),
    Column("num_ood", _IMAGES, "OOD", "OOD images compared.", "", is_count=True),
    Column(
        "num_moved",
        _IMAGES,
        "moved",
        "Images of the OOD set that show an ID class (semantically coherent sets mark them); they "
        "count as ID and are included there.",
        "",
        is_count=True,
    ),
)

PAPERS = (
    ("PASCL, ImOOD", ("auroc", "ap_out", "fpr95_ood_pos"), "mean over the OOD sets"),
    ("PATT", ("auroc", "ap_in", "ap_out", "fpr95_ood_pos"), "mean over the OOD sets"),
    ("HIMPLoS", ("auroc", "ap_in", "ap_out", "fpr95_id_pos"), "mean over the OOD sets"),
    ("LoCoOp, MCM", ("auroc", "fpr95_id_pos"), "mean over the OOD sets"),
    (
        "OpenOOD",
        ("auroc", "aupr_in", "aupr_out", "fpr95_ood_pos_first"),
        "mean over the near and over the far sets, apart",
    ),
)

TILES = (
    ("auroc", "Mean AUROC", "OOD above ID, for a random pair"),
    ("fpr95_ood_pos", "FPR95, OOD positive", "ID flagged while 95 % of OOD are caught"),
    ("fpr95_id_pos", "FPR95, ID positive", "OOD accepted while 95 % of ID are kept"),
    ("ap_out", "Mean AP, OOD positive", "precision of alarms over all recalls"),
)

NOTES = (
    (
        "Which way is up",
        "Every score is an OOD score: higher means more OOD. Papers that define a confidence are "
        "negated once, where the method computes it.",
    ),
    (
        "What is positive",
        "A detector can be asked to find OOD images (OOD positive) or to recognise ID images (ID "
        "positive). AUROC is the same for both; FPR95 and precision-recall are not, so each "
        "column says which one it is. Never compare across the two.",
    ),
    (
        "The threshold of FPR95",
        "The threshold whose recall is nearest to 95 %; equal scores share one threshold. Columns "
        "named “first” take the first threshold that reaches 95 %.",
    ),
    (
        "AP or AUPR",
        "AP sums precision in steps, AUPR joins the points by straight lines. They differ visibly "
        "when an OOD set is small.",
    ),
    (
        "Mean",
        "The plain mean over the OOD sets, each set with the same weight, whatever its size.",
    ),
    (
        "Units",
        "This page shows percent with two decimals. Files, and the data embedded in this page, "
        "hold fractions between 0 and 1.",
    ),
    (
        "many / medium / few",
        "Groups of classes by the number of training images: thirds by rank up to 100 classes; "
        "beyond that more than 100 images is many and fewer than 20 is few. The accuracy of a "
        "group is the mean over its classes.",
    ),
    (
        "No peeking",
        "No statistic of a method comes from test images, unless a setting named official_* "
        "asks to repeat published code that does so.",
    ),
)
