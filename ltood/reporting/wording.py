"""Texts of the report: metric names, conventions and where to compare.

Texts about a single metric are in the one table of metrics, `ltood.metrics.METRICS`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """A column of the table per OOD set that counts images.

    Attributes:
        key: Key in metrics.json.
        title: Heading of the column.
        meaning: One sentence on what is counted.
    """

    key: str
    title: str
    meaning: str

    group = "Images"

    @property
    def name(self) -> str:
        """Heading that stands alone."""
        return f"{self.group}, {self.title}"


#: Count of images that few OOD sets have any of.
RELABELLED = "num_relabelled"

COUNTS = (
    Count("num_id", "ID", "ID images compared."),
    Count("num_ood", "OOD", "OOD images compared."),
    Count(
        RELABELLED,
        "relabelled",
        "Images of the OOD set that show an ID class (semantically coherent sets mark them); they "
        "count as ID and are included there.",
    ),
)

TILES = (
    ("auroc", "Mean AUROC", "OOD above ID, for a random pair"),
    ("fpr95_ood_pos", "Mean FPR95, OOD positive", "ID flagged while 95 % of OOD are caught"),
    ("fpr95_id_pos", "Mean FPR95, ID positive", "OOD accepted while 95 % of ID are kept"),
    ("ap_out", "Mean AP, OOD positive", "precision of alarms over all recalls"),
)

ACCURACY_TILES = (
    ("accuracy", "Accuracy", "ID test images given their class"),
    ("many", "Accuracy, many", "mean over the frequent classes"),
    ("medium", "Accuracy, medium", "mean over the middle classes"),
    ("few", "Accuracy, few", "mean over the rare classes"),
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
