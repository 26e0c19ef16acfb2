"""BinDisc: the output of a detector node that was trained to separate ID from OOD.

Source: Bitterwolf, Meinke, Augustin and Hein, "Breaking Down Out-of-Distribution
Detection: Many Methods Based on OOD Training Data Estimate a Combination of the Same Core
Quantities", ICML 2022 (arXiv:2206.09880), the binary discriminator, as the base score of
ImOOD (NeurIPS 2024, arXiv:2407.16430). Departure: the score is minus the node's logit g;
the authors' 1 - sigmoid(g) ranks alike but rounds to 0 for confident rows, which then tie.

Formula:
    score = -u
    u = first auxiliary output of the head, high for ID (classes of outliers come after it)
"""

from dataclasses import dataclass

from ltood.core.batches import FeatureBatch, Scores
from ltood.core.inputs import Need
from ltood.core.settings import Settings
from ltood.core.slots import Method

#: Reads a part that few heads have; the pipeline checks that early, without importing this.
HEAD_PARTS = True


@dataclass(frozen=True)
class Config(Settings):
    """BinDisc has no settings."""


class BinDisc(Method[Config]):
    """Scores rows by the first auxiliary output, a detector node whose logit is high for ID."""

    needs: frozenset[Need] = frozenset({Need.AUX_OUTPUTS})
    arrays: tuple[str, ...] = ("aux_outputs",)

    def _score(self, batch: FeatureBatch) -> Scores:
        """OOD scores, [N] float32 in units of logits; higher means more OOD."""
        return -batch.aux_outputs[:, 0]


Entry = BinDisc
