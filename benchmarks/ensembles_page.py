"""The page of the study: tables in Markdown and one picture."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ensembles_figures import (
    draw,
    hindsight,
    name_of,
    ours,
    reached,
    safest,
    worst,
)
from benchmarks.ensembles_study import Floats

MARK = "## Results"
RULES = ("z_mean", "stouffer", "simes", "min_p")
Cells = Sequence[object]
#: Feature sets with a long tail, whose class groups are shown.
TAILED = ("demo", "demo_first", "cifar10lt_seed0", "cifar10lt_seed1", "cifar10lt_seed2")
#: Other ensembles that the criterion is asked of.
CHOICES = {
    "default: stouffer": "The same by Stouffer",
    "default without the screen: z_mean": "Without the screen",
    "second choice: z_mean": "The members of the second choice, with this screen",
    "first choice: stouffer": "The first choice",
    "all methods: z_mean": "All methods by z_mean",
    "all methods: simes": "All methods by Simes",
}


def table(heading: Cells, rows: Iterable[Cells], left: int = 1) -> list[str]:
    """Lines of a table whose first columns are text."""
    marks = ["---"] * left + ["---:"] * (len(heading) - left)
    lines = [heading, marks, *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines] + [""]


def write_page(path: Path, raw: Mapping[str, Any]) -> None:
    """Write the results behind what the page says before them, and the picture beside it."""
    before = path.read_text(encoding="utf-8").partition(MARK)[0]
    picture = path.with_suffix(".svg")
    draw(raw, picture)
    lines = [
        MARK,
        "",
        "`python -m benchmarks.ensembles` writes them. *The ensemble* is the third choice:",
        f"{title(raw)}.",
        "Every member is behind logit_adjustment and has its default settings. AUROC and FPR95 are",
        "in percent, regret in points.",
        "",
        f"![Worst regret of every single method and of the ensemble]({picture.name})",
        "",
        *verdict(raw),
        *overview(raw),
        *screens(raw),
        *combinations(raw),
        *all_at_once(raw),
        *rank_lines(raw),
        *bootstrap(raw),
        *level_lines(raw),
        *ablation_lines(raw),
        *every_set(raw),
    ]
    path.write_text(before + "\n".join(lines).rstrip() + "\n", encoding="utf-8")


def title(raw: Mapping[str, Any]) -> str:
    """The ensemble in words."""
    names = [member.rpartition("+")[2] for member in raw["members"]]
    return f"{raw['rule']} of {', '.join(names)}, screened at {raw['screen']:g}"


def verdict(raw: Mapping[str, Any]) -> list[str]:
    """The criterion, feature set by feature set."""
    rows = []
    for key, one in raw["sets"].items():
        mine = ours(raw, one)
        calm, least = safest(one)
        best, found = hindsight(one)
        regret, mean = worst(one, mine), mine[:, 0].mean()
        first = "yes" if regret < least else "**no**"
        second = "yes" if mean >= found[:, 0].mean() - 1 else "**no**"
        rows.append(
            (
                name_of(key),
                f"{regret:.2f}",
                f"{least:.2f} ({calm})",
                first,
                f"{mean:.2f}",
                f"{found[:, 0].mean():.2f} ({best})",
                second,
            )
        )
    heading = (
        "feature set",
        "worst regret",
        "least of all single methods",
        "below?",
        "mean AUROC",
        "best single in hindsight",
        "within 1?",
    )
    met = sum("no" not in row[3] + row[6] for row in rows)
    text = f"The ensemble meets both parts on {met} of {len(rows)} feature sets."
    return [
        "### The criterion",
        "",
        text,
        "",
        *table(heading, rows),
        *(short_verdict(raw, kind) for kind in CHOICES),
        "",
    ]


def short_verdict(raw: Mapping[str, Any], kind: str) -> str:
    """On which feature sets another ensemble meets the criterion, in a line."""
    missed = []
    for key, one in raw["sets"].items():
        found = reached(one, "detectors", kind)
        if worst(one, found) >= safest(one)[1]:
            missed.append(f"{name_of(key)} (worst regret {worst(one, found):.2f})")
        elif found[:, 0].mean() < hindsight(one)[1][:, 0].mean() - 1:
            missed.append(f"{name_of(key)} (mean {found[:, 0].mean():.2f})")
    met = len(raw["sets"]) - len(missed)
    tail = f"; not on {', '.join(missed)}" if missed else ""
    return f"- {CHOICES[kind]}: met on {met} of {len(raw['sets'])}{tail}."


def overview(raw: Mapping[str, Any]) -> list[str]:
    """Mean figures of the ensemble beside single methods, in AUROC / FPR95 ID+ / FPR95 OOD+."""
    sets = raw["sets"]

    def cell(one: Mapping[str, Any], found: Floats) -> str:
        auroc, ood, id_ = found.mean(axis=0)
        return f"{auroc:.2f} / {id_:.1f} / {ood:.1f}"

    members = raw["members"]
    rows: list[Cells] = [
        ("ensemble", *(cell(one, ours(raw, one)) for one in sets.values())),
        ("best single in hindsight", *(cell(one, hindsight(one)[1]) for one in sets.values())),
        *(
            (
                member.rpartition("+")[2],
                *(cell(one, reached(one, "singles", member)) for one in sets.values()),
            )
            for member in members
        ),
        (
            "average member",
            *(cell(one, reached(one, "detectors", "average member")) for one in sets.values()),
        ),
    ]
    if all("auto" in one["detectors"] for one in sets.values()):
        rows.append(
            ("auto", *(cell(one, reached(one, "detectors", "auto")) for one in sets.values()))
        )
    heading = ("mean AUROC / FPR95 ID+ / OOD+", *(name_of(key) for key in sets))
    kept = [
        f"- {name_of(key)}: {', '.join(name.rpartition('+')[2] for name in one['kept'])}"
        for key, one in sets.items()
    ]
    text = "Members that pass the screen:"
    return ["### Beside its members", "", *table(heading, rows), text, "", *kept, ""]


def screens(raw: Mapping[str, Any]) -> list[str]:
    """How much depends on the screen and on how val is cut."""
    rows = []
    for key, one in raw["sets"].items():
        needed, least = hindsight(one)[1][:, 0].mean() - 1, safest(one)[1]
        cells = []
        for found in one["screens"].values():
            means, regrets = np.array(found).T
            met = int(((means >= needed) & (regrets < least)).sum())
            spread = f"{means.min():.1f} to {means.max():.1f}"
            cells.append(f"{spread} / {regrets.min():.1f} to {regrets.max():.1f}, {met}")
        rows.append((name_of(key), *cells))
    heading = ("feature set", *next(iter(raw["sets"].values()))["screens"])
    return [
        "### The screen, over eight cuts of val",
        "",
        "Mean AUROC / worst regret, smallest to largest over the cuts, and on how many of them the",
        "criterion is met, by the least AUROC that the screen asks for (0: no screen).",
        "",
        *table(heading, rows),
    ]


def combinations(raw: Mapping[str, Any]) -> list[str]:
    """Mean AUROC and worst regret of every combination of every set of members."""
    sets = raw["sets"]
    titles = [key for key in next(iter(sets.values()))["detectors"] if ": " in key]
    rows = []
    for detector in titles:
        members, _, rule = detector.rpartition(": ")
        cells = []
        for one in sets.values():
            found = reached(one, "detectors", detector)
            cells.append(f"{found[:, 0].mean():.2f} / {worst(one, found):.1f}")
        rows.append((members, rule, *cells))
    heading = ("members", "combination", *(name_of(key) for key in sets))
    return [
        "### Combinations",
        "",
        "Mean AUROC / worst regret.",
        "",
        *table(heading, rows, left=2),
    ]


def all_at_once(raw: Mapping[str, Any]) -> list[str]:
    """Whoever fixes one detector for all feature sets."""
    sets = raw["sets"].values()
    common = set.intersection(*(set(one["singles"]) for one in sets))
    found = []
    for key in common:
        tables = [reached(one, "singles", key) for one in sets]
        regrets = [worst(one, values) for one, values in zip(sets, tables, strict=True)]
        found.append((max(regrets), np.mean([v[:, 0].mean() for v in tables]), key))
    mine = [ours(raw, one) for one in sets]
    own = max(worst(one, values) for one, values in zip(sets, mine, strict=True))
    by_worst = sorted(found)[:6]
    by_mean = sorted(found, key=lambda row: -row[1])[:6]
    rows: list[Cells] = [
        ("**the ensemble**", f"{own:.2f}", f"{np.mean([v[:, 0].mean() for v in mine]):.2f}")
    ]
    for regret, mean, key in dict.fromkeys([*by_worst, *by_mean]):
        rows.append((key, f"{regret:.2f}", f"{mean:.2f}"))
    return [
        "### One detector for all feature sets",
        "",
        f"Of {len(common)} single methods that fit all feature sets, those with the smallest worst",
        "regret and those with the highest mean.",
        "",
        *table(("detector", "worst regret of all", "mean AUROC of all feature sets"), rows),
    ]


def rank_lines(raw: Mapping[str, Any]) -> list[str]:
    """Mean ranks with the clique around the ensemble."""
    ranks = raw["ranks"]
    ordered = sorted(ranks["mean"].items(), key=lambda item: item[1])
    alike = set(ranks["like ours"])
    rows = [(key, f"{mean:.1f}", "" if key in alike else "differs") for key, mean in ordered[:15]]
    return [
        "### Ranks",
        "",
        f"Mean rank of AUROC over {ranks['blocks']} pairs of feature set and OOD set, among",
        f"{len(ordered)} detectors: methods alone and combinations of the default members.",
        f"Friedman's p-value is {ranks['p_value']:.1g}. *Differs* marks what Conover's test,",
        "Holm-adjusted, tells apart from the ensemble at 5 %. Pairs that share a network are not",
        "independent, which makes such tests bolder than they should be. The first 15:",
        "",
        *table(("detector", "mean rank", "beside the ensemble"), rows),
    ]


def bootstrap(raw: Mapping[str, Any]) -> list[str]:
    """Differences to the best single method in hindsight."""
    rows = [
        (
            name_of(key),
            one["bootstrap"]["best"],
            f"{one['bootstrap']['difference']:+.2f}",
            f"{one['bootstrap']['low']:+.2f} to {one['bootstrap']['high']:+.2f}",
        )
        for key, one in raw["sets"].items()
    ]
    return [
        "### Against the best single method in hindsight",
        "",
        "Mean AUROC of the ensemble less that of the single method, with the 95 % interval of",
        "500 paired bootstrap draws over rows.",
        "",
        *table(("feature set", "best single", "difference", "95 % interval"), rows, left=2),
    ]


def level_lines(raw: Mapping[str, Any]) -> list[str]:
    """Realised false alarms."""
    levels = ("0.01", "0.05", "0.1")
    rows: list[Cells] = []
    for key, one in raw["sets"].items():
        for group, found in one["level"]["mapped"].items():
            if group != "all" and key not in TAILED:
                continue
            cells = []
            for level in levels:
                rate = found[level]
                inside = "" if np.isnan(rate["inside"]) else f", {100 * rate['inside']:.0f}"
                spread = f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f}"
                cells.append(f"{100 * rate['mean']:.2f} ({spread}{inside})")
            rows.append((name_of(key), group, *cells))
    bare: list[Cells] = []
    for key, one in raw["sets"].items():
        for rule, found in one["level"]["uncorrected"].items():
            bare.append((name_of(key), rule, *(f"{100 * found[level]:.2f}" for level in levels)))
    return [
        "### False alarms",
        "",
        "Share of ID test rows flagged, percent, over 100 random splits of the held-out rows:",
        "mean (5th to 95th percentile, percent of the splits inside the exact 95 % interval).",
        "*One map* is the second map over all rows, whose promise is for all rows together;",
        "*own map* is one for each predicted class group, whose promise is for each group.",
        "",
        *table(("feature set", "rows", "level 1 %", "5 %", "10 %"), rows, left=2),
        "Without the second map, by fixed thresholds on the p-values of the members:",
        "",
        *table(("feature set", "rule", "level 1 %", "5 %", "10 %"), bare, left=2),
    ]


def ablation_lines(raw: Mapping[str, Any]) -> list[str]:
    """Ablations, mean AUROC / worst regret."""
    sets = raw["sets"]
    lines = ["### Ablations", "", "Mean AUROC / worst regret.", ""]
    texts = {
        "members": "Random members out of all methods, by their number (mean of 20 draws):",
        "useless": "Noise added to the members, by the number of noise members:",
        "useless, no screen": "The same without the screen:",
        "copies": "Copies of the weakest of the members that pass, by their number:",
        "map rows": "Rows for the maps n_A (mean of 3 draws):",
    }
    for name, text in texts.items():
        rows = []
        for key, one in sets.items():
            for rule in RULES:
                found = one["ablations"][rule].get(name, {})
                if not found:
                    continue
                sizes = [*found]
                cells = {size: f"{x['mean']:.1f} / {x['worst']:.1f}" for size, x in found.items()}
                rows.append((name_of(key), rule, cells, sizes))
        columns = sorted({size for row in rows for size in row[3]}, key=int)
        body = [(key, rule, *(c.get(size, "") for size in columns)) for key, rule, c, _ in rows]
        lines += [text, "", *table(("feature set", "combination", *columns), body, left=2)]
    rows = []
    for key, one in sets.items():
        for size, found in one["ablations"]["decision rows"].items():
            cells = [f"{100 * mean:.2f} ± {100 * sd:.2f}" for mean, sd in found.values()]
            rows.append((name_of(key), size, *cells))
    heading = ("feature set", "n_B", "level 1 %", "5 %", "10 %")
    text = "Rows for the decision n_B: false alarms, percent, mean and deviation of 100 splits."
    return [*lines, text, "", *table(heading, rows, left=2)]


def every_set(raw: Mapping[str, Any]) -> list[str]:
    """AUROC on each OOD set: the ensemble, the best single, the best on that set alone."""
    lines = ["### Every OOD set", ""]
    for key, one in raw["sets"].items():
        best, found = hindsight(one)
        singles = {name: np.array(values) for name, values in one["singles"].items()}
        mine = ours(raw, one)
        rows = []
        for place, (name, size) in enumerate(one["ood"].items()):
            top = max(singles, key=lambda single: float(singles[single][place, 0]))
            rows.append(
                (
                    name,
                    f"{size:,}",
                    *(f"{v:.2f}" for v in (mine[place, 0], mine[place, 2], mine[place, 1])),
                    f"{found[place, 0]:.2f}",
                    f"{singles[top][place, 0]:.2f} ({top})",
                )
            )
        heading = ("OOD set", "rows", "AUROC", "FPR95 ID+", "FPR95 OOD+", best, "best single here")
        sizes = f"{one['rows']['val']:,} held-out and {one['rows']['test']:,} test rows"
        lines += [f"**{name_of(key)}**, {sizes}", "", *table(heading, rows)]
    return lines
