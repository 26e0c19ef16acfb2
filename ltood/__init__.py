"""ltood: out-of-distribution image detection, iterated on cached features.

Names are imported when they are first used, so that `import ltood` needs no torch. Their types
stand in `__init__.pyi`; `docs/make_names.py` writes both lists.
"""

__version__ = "0.2.0"

#: Module of each public name, below ltood.
_NAMES = {
    "ASH": "methods.ash",
    "ASHMap": "methods.ash_map",
    "AdaNeg": "methods.adaneg",
    "AdaSCALE": "methods.adascale",
    "Auto": "methods.auto",
    "BATS": "methods.bats",
    "BinDisc": "methods.bin_disc",
    "CADRef": "methods.cadref",
    "CARef": "methods.caref",
    "CLIPN": "methods.clipn",
    "ClassGaussian": "methods.class_gaussian",
    "ClassPrior": "core.prior",
    "ClassifierHead": "core.head",
    "Cooked": "methods.cooked",
    "Cosine": "methods.cosine",
    "DICE": "methods.dice",
    "DICEReAct": "methods.dice_react",
    "DODA": "methods.doda",
    "Energy": "methods.energy",
    "Ensemble": "methods.ensemble",
    "Entropy": "methods.entropy",
    "FDBD": "methods.fdbd",
    "GEN": "methods.gen",
    "GLMCM": "methods.gl_mcm",
    "GMM": "methods.gmm",
    "GROOD": "methods.grood",
    "GradNorm": "methods.gradnorm",
    "Gram": "methods.gram",
    "HIMPLoS": "methods.himplos",
    "HPM": "methods.hpm",
    "ImOOD": "normalisers.imood",
    "KLMatching": "methods.kl_matching",
    "KNN": "methods.knn",
    "KPCA": "methods.kpca",
    "LINe": "methods.line",
    "LMCM": "methods.l_mcm",
    "LTS": "methods.lts",
    "LogitAdjustment": "calibrators.logit_adjustment",
    "LtoodError": "core.errors",
    "MCM": "methods.mcm",
    "MDSPlus": "methods.mds_plus",
    "MSP": "methods.msp",
    "Mahalanobis": "methods.mahalanobis",
    "MahalanobisLayers": "methods.mahalanobis_layers",
    "MaxCosine": "methods.max_cosine",
    "MaxLogit": "methods.maxlogit",
    "NAC": "methods.nac",
    "NCI": "methods.nci",
    "NECO": "methods.neco",
    "NNGuide": "methods.nnguide",
    "NearestClassMean": "methods.nearest_class_mean",
    "NegLabel": "methods.neglabel",
    "ODIN": "methods.odin",
    "OODD": "methods.oodd",
    "OpenMax": "methods.openmax",
    "OptFS": "methods.optfs",
    "OutlierClass": "methods.outlier_class",
    "PATT": "calibrators.patt",
    "PNML": "methods.pnml",
    "Pipeline": "library.pipeline",
    "RMDSPlus": "methods.rmds_plus",
    "RPGradNorm": "methods.rp_gradnorm",
    "RPMSP": "methods.rp_msp",
    "RWEnergy": "methods.rw_energy",
    "RankFeat": "methods.rankfeat",
    "ReAct": "methods.react",
    "ReActMap": "methods.react_map",
    "Relation": "methods.relation",
    "RelativeMahalanobis": "methods.relative_mahalanobis",
    "Residual": "methods.residual",
    "SCALE": "methods.scale",
    "SHE": "methods.she",
    "TANL": "methods.tanl",
    "TNorm": "methods.t_norm",
    "TemperatureScaling": "methods.temperature_scaling",
    "VRA": "methods.vra",
    "ViM": "methods.vim",
    "WDiscOOD": "methods.wdiscood",
    "WeiPerKLD": "methods.weiper_kld",
    "calibrator": "library.entries",
    "compare": "library.comparing",
    "compare_runs": "library.runs",
    "evaluate": "library.evaluating",
    "extract": "library.extract",
    "load": "library.pipeline",
    "method": "library.entries",
    "normaliser": "library.entries",
    "open_features": "library.opening",
}

__all__ = [*_NAMES, "__version__"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    import importlib

    if name not in _NAMES:
        import difflib

        near = difflib.get_close_matches(name.lower(), {n.lower(): n for n in _NAMES}, n=3)
        hint = ", ".join(public for public in _NAMES if public.lower() in near)
        raise AttributeError(
            f"module 'ltood' has no name {name!r}." + (f" Did you mean {hint}?" if hint else "")
        )
    value: object = getattr(importlib.import_module(f"ltood.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names alone."""
    return sorted(__all__)
