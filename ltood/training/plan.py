"""Training plan: settings of the loop, backbone and recipe; no torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from ltood.core.errors import ConfigError
from ltood.core.limits import Count, Decay, Limits, NonNegative, Positive, Share
from ltood.core.settings import Settings
from ltood.training.policies import Policies

#: What `training.augmentation.named` can do; named here because reading settings needs no torch.
Augmentation = Literal["basic", "jitter", "contrast", "autoaugment", "randaugment"]
Crop = Literal["shift", "resized"]
Padding = Annotated[int, Limits(at_least=0, at_most=1024)]


@dataclass(frozen=True)
class TrainingConfig(Settings):
    """Settings of the loop.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images of one step; the batches of an epoch differ by at most one image.
        drop_last: All batches have exactly that size, and the images left over, other ones in
            each epoch, are not seen in it.
        optimiser: "sgd", "adam" or "adamw".
        learning_rate: Its largest value.
        momentum: Of SGD, 0 to below 1.
        nesterov: Whether that momentum is Nesterov's.
        weight_decay: L2 penalty ("adamw": decoupled), 0 or more.
        schedule: "cosine" falls to 0 after the last step; "cosine_epoch" does so from epoch to
            epoch, as the official codes of PATT and ImOOD; "multistep" multiplies by `factor` at
            each of the `milestones`; "constant" stays.
        milestones: Epochs, counted from 0, before which "multistep" lowers the rate.
        factor: By what, above 0 and below 1.
        warmup_epochs: Epochs of linear rise before the schedule; fractions count.
        crop: "shift" moves each image by a few pixels, "resized" stretches a random part of it
            to the full size; null takes "resized" for image files and "shift" for arrays.
        crop_area: Least share of an image that "resized" shows, above 0 and at most 1.
        crop_padding: Largest random shift in pixels.
        horizontal_flip: Mirror half of the images.
        augmentation: What else is done to the images, as
            `ltood/training/augmentation/named.py` lists it.
        later_views: The same for the second and further views of recipes that take several;
            null takes that of the first.
        policies: How "autoaugment" and "randaugment" change an image.
        aux_augmentation: As `augmentation`, for auxiliary outliers; null takes that.
        aux_crop_area: As `crop_area`, for them; null takes that.
        aux_crop_padding: As `crop_padding`, for them; null takes that.
        aux_mean: Scale outliers by other numbers than the images, as the code of PATT does: one
            value per channel, or null for the mean of the backbone. Only in training.
        aux_std: The standard deviations that belong to `aux_mean`.
        aux_order: "rounds" shows every outlier once before one comes again, over the epochs;
            "epochs" shuffles anew in each, so that with many outliers some may never come.
        accumulate: Parts that a batch goes through the network in, for less memory. Losses of
            single images stay the same to rounding, batch norm and losses over many images
            (contrast) see one part at a time.
        clip_norm: Largest length of the gradient; null leaves it.
        ema: Share of the old average that each step keeps, such as 0.999; the averaged weights
            are validated and written. 0 averages nothing.
        compile: Let torch compile the network; the first steps take longer.
        amp: "bf16" computes the network in bfloat16, "fp16" in float16 with scaled losses on
            GPUs; "auto" takes bfloat16 on GPUs that can, and the format of the work that is there
            where an earlier run began elsewhere. Losses are always float32.
        channels_last: Memory layout; null takes it on GPUs, where it is faster.
        deterministic: Refuse algorithms whose result may differ from run to run.
        weights: File of weights, or folder of a checkpoint, that training starts from; null
            starts afresh, or from what the backbone's own settings name.
        freeze: "backbone" trains the head alone, and whatever else the recipe has to train: the
            rest of the network gets no gradient and no decay, and its norms keep their statistics.
            Cheaper still is the recipe linear_probe, which sees each image once.
        backbone_rate: Share of the learning rate for the backbone without its head, such as 0.1
            where it starts from weights and the head afresh.
        early_stopping: Epochs without a better one on the split val after which training ends;
            the best epoch is kept then. null trains all epochs and keeps the last.
        early_stopping_on: What is better: a smaller cross entropy ("loss") or a larger
            "accuracy".
        live: Write the curves of the training under way for DVCLive, to data/work/training/live.
        validation_epochs: Epochs between looks at the validation split.
        checkpoint_epochs: Epochs after which the state is saved.
        checkpoint_minutes: Minutes after which it is saved in the middle of an epoch.
    """

    section: ClassVar[str] = "training"

    epochs: Annotated[int, Limits(at_least=1, at_most=100_000)] = 40
    batch_size: Annotated[int, Limits(at_least=1, at_most=65_536)] = 64
    drop_last: bool = False
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: Positive = 0.05
    momentum: Decay = 0.9
    nesterov: bool = True
    weight_decay: NonNegative = 5e-4
    schedule: Literal["cosine", "cosine_epoch", "multistep", "constant"] = "cosine"
    milestones: tuple[Count, ...] = (60, 80)
    factor: Annotated[float, Limits(above=0, below=1)] = 0.1
    warmup_epochs: NonNegative = 0.0
    crop: Crop | None = None
    crop_area: Share = 0.08
    crop_padding: Padding = 4
    horizontal_flip: bool = True
    augmentation: Augmentation = "basic"
    later_views: Augmentation | None = None
    policies: Policies = field(default_factory=Policies)
    aux_augmentation: Augmentation | None = None
    aux_crop_area: Share | None = None
    aux_crop_padding: Padding | None = None
    aux_mean: tuple[float, ...] | None = None
    aux_std: tuple[Positive, ...] | None = None
    aux_order: Literal["rounds", "epochs"] = "rounds"
    accumulate: Annotated[int, Limits(at_least=1, at_most=10_000)] = 1
    clip_norm: Positive | None = None
    ema: Decay = 0.0
    compile: bool = False
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"
    channels_last: bool | None = None
    deterministic: bool = True
    weights: str | None = None
    freeze: Literal["none", "backbone"] = "none"
    backbone_rate: Share = 1.0
    early_stopping: Count | None = None
    early_stopping_on: Literal["loss", "accuracy"] = "loss"
    live: bool = False
    validation_epochs: Count = 1
    checkpoint_epochs: Count = 5
    checkpoint_minutes: Annotated[float, Limits(at_least=0, finite=False)] = 2.0

    def check(self) -> None:
        """Refuse settings that do not fit one another, and a name without letters."""
        if self.weights is not None and not self.weights.strip():
            raise self.fault(
                "weights",
                "is empty; name a file or a checkpoint folder, or set it to null to start afresh "
                "(-S training.weights=null).",
            )
        if list(self.milestones) != sorted(self.milestones):
            raise self.fault(
                "milestones",
                f"is {list(self.milestones)}; give epochs in rising order, such as [60, 80].",
            )
        if (self.aux_mean is None) != (self.aux_std is None):
            absent = "aux_mean" if self.aux_mean is None else "aux_std"
            raise self.fault(
                absent,
                "is null but the other of aux_mean and aux_std is not; give both, one value per "
                "channel, or neither.",
            )
        if self.warmup_epochs >= self.epochs:
            raise self.fault(
                "warmup_epochs",
                f"is {self.warmup_epochs}; it must be below epochs ({self.epochs}).",
            )


@dataclass(frozen=True)
class Plan:
    """Everything that defines a training run, in plain values.

    Attributes:
        backbone: Name of the backbone entry.
        backbone_settings: Its settings, defaults included.
        recipe: Name of the recipe entry.
        recipe_settings: Its settings, defaults included.
        training: Settings of the loop.
        seed: Decides initial weights, order and augmentation.
    """

    backbone: str
    backbone_settings: Mapping[str, Any]
    recipe: str
    recipe_settings: Mapping[str, Any]
    training: TrainingConfig
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the seed, which no section of settings checks."""
        if type(self.seed) is not int:
            raise ConfigError(f"seed is {self.seed!r}; it must be a whole number, such as 0.")


def learning_rate(step: int, steps_per_epoch: int, config: TrainingConfig) -> float:
    """Learning rate of the step with number `step`, counted from 0 over the whole run."""
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return config.learning_rate
    epoch = step // steps_per_epoch
    if config.schedule == "multistep":
        passed = sum(milestone <= epoch for milestone in config.milestones)
        return config.learning_rate * config.factor**passed
    if config.schedule == "cosine_epoch":
        step = max(epoch * steps_per_epoch, math.ceil(warmup))
    done = (step - warmup) / (config.epochs * steps_per_epoch - warmup)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2
