"""From arrays to a deployed detector: calibrate, score, normalise, threshold, save, load."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast, overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ltood.core.arrays import Rows, like
from ltood.core.entry import Entry
from ltood.core.errors import ConfigError, DataError, NotFittedError
from ltood.core.head import ClassifierHead, Head
from ltood.core.prior import ClassPrior, Counts
from ltood.core.slots import Calibrator, Method, Normaliser
from ltood.library.predictions import Predictions
from ltood.library.reading import is_features, reader_of
from ltood.library.slots import calibrator_slot, method_slot, normaliser_slot
from ltood.store.memory import Given, MemoryStore

if TYPE_CHECKING:
    from ltood.deployment.detector import DeployedDetector
    from ltood.deployment.promises import ClassMix
    from ltood.library.features import Features
    from ltood.scoring.session import ScoringSession
    from ltood.store.reading import StoreReader

_PARAMS = ("method", "calibrator", "normaliser", "head", "class_names", "device")


class Pipeline:
    """A detector for arrays of features: a calibrator, then a method, then a normaliser.

    Attributes:
        method: Method as it was given, a name or an object; it is never fitted itself.
        calibrator: Calibrator as it was given, or None.
        normaliser: Normaliser as it was given, or None.
        head: Classifier head as it was given, or None.
        class_names: Names of the classes as they were given, or None.
        device: Where scores are computed: "auto", "cpu", "cuda" or "cuda:1".
    """

    def __init__(
        self,
        method: str | Method,
        calibrator: str | Calibrator | None = None,
        normaliser: str | Normaliser | None = None,
        *,
        head: Head | None = None,
        class_names: Sequence[str] | None = None,
        device: str = "auto",
    ) -> None:
        """Choose the entries.

        Args:
            method: Method, such as `KNN(k=50)` or "knn" for its defaults.
            calibrator: Calibrator, its name, or None.
            normaliser: Normaliser, its name, or None.
            head: Last linear layer of the network: a `torch.nn.Linear`, a `ClassifierHead` or
                (weight, bias). Without it, methods that read logits or the head are refused,
                and the predicted class is the one with the nearest mean.
            class_names: Names of the C classes in label order; their numbers if not given.
            device: "auto", "cpu", "cuda" or "cuda:1".

        Raises:
            ConfigError: If a name or a setting is wrong, or entries do not fit together.
        """
        self.method, self.calibrator, self.normaliser = method, calibrator, normaliser
        self.head, self.class_names, self.device = head, class_names, device
        self._detector: DeployedDetector | None = None
        self._session: ScoringSession | None = None
        self._slots()  # Invalid settings fail here, not after a long fit.

    def _slots(self) -> tuple[Any, Any, Any]:
        base = method_slot(self.method)
        return base, calibrator_slot(self.calibrator), normaliser_slot(self.normaliser, base)

    def fit(
        self,
        features: "Rows | Features | StoreReader | Path",
        labels: Rows | None = None,
        *,
        aux: Rows | None = None,
        prior: Counts | None = None,
        local: Rows | None = None,
        val: Rows | None = None,
        val_labels: Rows | None = None,
        val_local: Rows | None = None,
    ) -> Self:
        """Learn from training rows; a threshold that was set is forgotten.

        Args:
            features: Training features, [N, D], any kind of array; memory-mapped ones stay on
                disk. Or what `ltood.open_features` gives, or what it opens, which holds
                all that follows.
            labels: Their classes, [N] whole numbers from 0 to C - 1.
            aux: Features of auxiliary outliers, [M, D].
            prior: Class counts, [C]; counted from `labels` where not given.
            local: Local training features, [N, P, D], for methods that read them.
            val: Features of ID rows held out of training, [V, D], for methods that need them.
                `set_threshold` takes other rows, or what they did not learn from of these.
            val_labels: Classes of these rows, [V]; the predicted ones count where not given.
            val_local: Local features of these rows, [V, P, D].

        Raises:
            DataError: If a shape does not fit, a number is not finite or a label is not a
                valid class.
            MissingNeedError: If an entry learns from something that was not given.
            ConfigError: If a setting does not fit the data, or the device is not there.
        """
        from ltood.deployment.exporting import fit_slots
        from ltood.scoring.session import ScoringSession

        if is_features(features):
            rows = (labels, aux, prior, local, val, val_labels, val_local)
            if any(value is not None for value in (*rows, self.head, self.class_names)):
                raise DataError("opened features hold all that fit learns from; give nothing else.")
            store = reader_of(cast("StoreReader | Path", features))
        else:
            splits = {"train": Given(cast(Rows, features), labels, local)}
            if aux is not None:
                splits["aux"] = Given(aux)
            if val is not None:
                splits["val"] = Given(val, val_labels, val_local)
            elif val_labels is not None or val_local is not None:
                raise DataError("val_labels and val_local are those of val=, which is missing.")
            head = None if self.head is None else ClassifierHead.of(self.head)
            counts = None if prior is None else ClassPrior.of(prior)
            store = MemoryStore(splits, head, counts, self.class_names)
        base, view, correction = self._slots()
        session = ScoringSession.open(store, self.device)
        with (
            base.entry._in_own_words(),
            view.entry._in_own_words(),
            correction.entry._in_own_words(),
        ):
            self._detector = fit_slots(session, base, view, correction)
        self._session = session
        return self

    @property
    def detector(self) -> "DeployedDetector":
        """The fitted detector.

        Raises:
            NotFittedError: If `fit` has not run.
        """
        if self._detector is None:
            raise NotFittedError("the pipeline is not fitted: call fit(features, labels) first.")
        return self._detector

    @property
    def threshold(self) -> float | None:
        """Largest score that counts as ID; None until `set_threshold`."""
        detector = self.detector
        return detector.threshold if "threshold" in detector.description else None

    @overload
    def score(self, features: Tensor, *, local: Rows | None = ...) -> Tensor: ...
    @overload
    def score(
        self, features: NDArray[Any] | Sequence[Any], *, local: Rows | None = ...
    ) -> NDArray[np.float32]: ...
    def score(self, features: Rows, *, local: Rows | None = None) -> Any:
        """OOD scores, [N] float32; higher means more OOD.

        Rows are read batch by batch, so that memory-mapped arrays of any length can be scored.

        Args:
            features: Features of the network that the pipeline was fitted for, [N, D].
            local: Local features, [N, P, D], for methods that read them.

        Returns:
            A tensor on the device of `features` if they are a tensor, else a NumPy array.

        Raises:
            NotFittedError: If `fit` has not run.
            DataError: If a shape is wrong or a number is not finite.
            MissingNeedError: If the method reads local features and none are given.
        """
        return like(features, self.detector.score(features, local=local))

    def set_threshold(
        self,
        features: Rows | None = None,
        labels: Rows | None = None,
        *,
        tpr: float = 0.95,
        local: Rows | None = None,
    ) -> Self:
        """Accept at least the share `tpr` of these ID rows, which `fit` must not have seen.

        The promises of `predict`, such as `fpr`, rest on these rows too.

        Args:
            features: Held-out features of ID classes, [N, D]; never OOD rows. Where not given,
                the rows `val` (the split val) of `fit`, without those that an entry has learned
                from.
            labels: Their classes, [N], for `class_mix` and `sets`; -1 where not known.
            tpr: Share to accept, above 0 up to 1.
            local: Their local features, [N, P, D], for methods that read them.

        Raises:
            NotFittedError: If `fit` has not run.
            ConfigError: If `tpr` is out of range.
            DataError: If there are no rows, they break a rule of `score`, or are rows of `val`
                that an entry has learned from.
        """
        from ltood.deployment.exporting import with_threshold, with_threshold_of

        if features is None:
            if self._session is None or "val" not in self._session.store.splits:
                raise DataError(
                    "there are no held-out rows; give set_threshold features of ID rows, or fit "
                    "val= (the split val of opened features)."
                )
            self._detector = with_threshold_of(self.detector, self._session, "val", tpr)
            return self
        if self._session is not None:
            from ltood.library.copies import refuse_learned

            refuse_learned(self.detector, self._session, features)
        rows = self.detector.calibration_rows(features, labels, local=local)
        self._detector = with_threshold(self.detector, rows, tpr, "val")
        return self

    def predict(
        self,
        features: Rows,
        *,
        local: Rows | None = None,
        fpr: float | None = None,
        confidence: float | None = None,
        per_group: str | None = None,
        class_mix: "ClassMix | None" = None,
        fdr: float | None = None,
        sets: float | None = None,
    ) -> Predictions:
        """Verdict, score, class and nearest training classes of each row; see `score`.

        Without further options a row is OOD where its score is above the threshold. One of
        `fpr`, `fdr` and `sets` promises more about ID rows that are like those of
        `set_threshold`; see the page on decisions.

        Args:
            features: Features of the network that the pipeline was fitted for, [N, D].
            local: Local features, [N, P, D], for methods that read them.
            fpr: Share of ID rows that may be called OOD.
            confidence: Share of calibration sets for which `fpr` holds, not only on average.
            per_group: Keep `fpr` (or use `fdr`) within groups by predicted class: "class_group"
                (many, medium, few) or "class".
            class_mix: Shares of the classes at deployment where `set_threshold` had others:
                "uniform", "train", shares by name or in class order, [C].
            fdr: Share of ID rows among the rows of this call that are called OOD.
            sets: Share of the rows of every class that may be called OOD or miss their class in
                the set of classes of each row.

        Raises:
            NotFittedError: If `fit` or `set_threshold` has not run.
            DataError: If a shape is wrong, a number is not finite, or labels are missing.
            ConfigError: If options are out of range, exclude one another, or ask for more than
                the calibration rows can hold.
            MissingNeedError: If the detector has no calibration rows.
        """
        from ltood.deployment.promises import Promise

        detector = self._judging()
        promise = Promise.asked(
            fpr=fpr,
            confidence=confidence,
            per_group=per_group,
            class_mix=class_mix,
            fdr=fdr,
            sets=sets,
        )
        if promise is not None:
            detector = detector.promising(promise)
        found = detector.predict(features, local=local)
        return Predictions.of(found, features, detector)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write `<name>.safetensors` and `<name>.json`, which `ltood predict` reads too.

        Args:
            path: Either of the two files.
            overwrite: Replace existing files.

        Raises:
            NotFittedError: If `fit` or `set_threshold` has not run.
            ConfigError: If an entry is not one of ltood's, which no reader could find.
            StoreError: If the path ends otherwise or a file exists and `overwrite` is off.
        """
        from ltood.deployment.files import save_detector

        detector = self._judging()
        for entry in (detector.method, detector.calibrator, detector.normaliser):
            if entry is not None and not type(entry).__module__.startswith("ltood."):
                raise ConfigError(
                    f"{type(entry).__name__} is not an entry of ltood and could not be "
                    "loaded; put its file into ltood, or pickle the pipeline."
                )
        save_detector(Path(path), detector, overwrite=overwrite)

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: all but the rows of `fit`."""
        return {**vars(self), "_session": None}

    def _judging(self) -> "DeployedDetector":
        if self.threshold is None:
            raise NotFittedError(
                "the pipeline has no threshold: call set_threshold(features, tpr=0.95) with "
                "held-out ID rows first."
            )
        return self.detector

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments of the pipeline, for scikit-learn.

        Args:
            deep: Whether settings of entries come too, such as `method__k`.
        """
        params = {name: getattr(self, name) for name in _PARAMS}
        if deep:
            for slot in ("method", "calibrator", "normaliser"):
                if isinstance(entry := params[slot], Entry):
                    params |= {f"{slot}__{key}": v for key, v in entry.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:  # noqa: ANN401
        """Change entries or their settings (`method__k=10`) and forget what was learned.

        Raises:
            ConfigError: On an unknown name or a wrong value; nothing is changed then.
        """
        changed = self.get_params(deep=False)
        for name, value in params.items():
            slot, _, key = name.partition("__")
            if slot not in _PARAMS or (key and slot not in _PARAMS[:3]):
                raise ConfigError(f"Pipeline has no {name!r}; it takes {', '.join(_PARAMS)}.")
            changed[slot] = _with_setting(slot, changed[slot], key, value) if key else value
        vars(self).update(vars(type(self)(**changed)))
        return self

    def __repr__(self) -> str:
        """Entries that were chosen, and the threshold where there is one."""
        named = [repr(self.method)]
        behind = {"calibrator": self.calibrator, "normaliser": self.normaliser}
        named += [f"{slot}={entry!r}" for slot, entry in behind.items() if entry is not None]
        if self._detector is not None and self.threshold is not None:
            named.append(f"threshold={self.threshold:.6g}")
        return f"Pipeline({', '.join(named)})"


def load(path: str | Path, device: str = "auto") -> Pipeline:
    """Load what `Pipeline.save` or `ltood export-detector` wrote; scores are identical to the bit.

    Args:
        path: The .safetensors file, or the .json file next to it.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        StoreError: If a file is missing, is not a detector or has another schema.
        CorruptStoreError: If a file is unreadable or was changed.
        ConfigError: If this version lacks an entry or one of its settings, or the device is
            not there.
    """
    from ltood.deployment.files import load_detector

    detector = load_detector(path, device)
    pipeline = Pipeline(
        detector.method,
        detector.calibrator,
        detector.normaliser,
        class_names=detector.class_names,
        device=device,
    )
    pipeline._detector = detector
    return pipeline


def _with_setting(slot: str, entry: Any, key: str, value: object) -> Entry:  # noqa: ANN401
    """A new entry with one setting changed."""
    if isinstance(entry, str) and slot == "method":
        entry = method_slot(entry).entry
    elif isinstance(entry, str) and slot == "calibrator":
        entry = calibrator_slot(entry).entry
    if not isinstance(entry, Entry):
        raise ConfigError(f"{slot}__{key} changes a {slot}, but {slot} is {entry!r}; give one.")
    return type(entry)(**{**entry.get_params(), key: value})
