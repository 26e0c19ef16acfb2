"""Metrics by their definitions, in plain loops and exact fractions; slow on purpose."""

from fractions import Fraction


def operating_points(positives, negatives):
    """(recall, FPR) at each distinct score, strict to loose; high scores are positive."""
    points = []
    for threshold in sorted({*positives, *negatives}, reverse=True):
        hits = sum(1 for score in positives if score >= threshold)
        wrong = sum(1 for score in negatives if score >= threshold)
        points.append((Fraction(hits, len(positives)), Fraction(wrong, len(negatives))))
        if hits == len(positives):
            return points
    raise AssertionError("the lowest score finds every positive")


def fpr_at_tpr(id_scores, ood_scores, tpr, positive, rule):
    """`tpr` is a decimal in a string, so that it is exact."""
    if positive == "ood":
        points = operating_points(ood_scores, id_scores)
    else:
        points = operating_points([-s for s in id_scores], [-s for s in ood_scores])
    wanted = Fraction(tpr)
    if rule == "first":
        return float(next(fpr for recall, fpr in points if recall >= wanted))
    # Nearest recall, then the higher recall, then the larger FPR.
    return float(min(points, key=lambda p: (abs(p[0] - wanted), -p[0], -p[1]))[1])


def auroc(id_scores, ood_scores):
    wins = Fraction(0)
    for ood in ood_scores:
        for inside in id_scores:
            wins += Fraction(int(ood > inside)) + Fraction(int(ood == inside), 2)
    return float(wins / (len(id_scores) * len(ood_scores)))
