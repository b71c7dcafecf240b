"""Every key that a config has, with its default; a card changes what it needs to.

    from jaxft.configs import base

    def get_config():
        config = base.get_config()
        config.data.source = "folder:photos"
        return config

A key that is not here is an error. `--config.data.image_size=160` sets one from the command line,
and `--config.phases.full.lr=0.01` one of the phase `full`. `jaxft keys` lists them all with the
comments of this file: the one on a key's line, then those right above it.
"""

from typing import Any

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    """All keys, with phases as for a near domain (natural photos)."""
    config = ConfigDict()
    config.seed = 0  # order, augmentation, dropout, new head; the split has its own seed
    config.init_from = ""  # a workdir whose best weights to start from ("" = model.weights)
    config.cache_dir = ""  # feature and compilation caches ("" = the user's cache directory)
    config.checkpoint_minutes = 10.0  # checkpoint within an epoch this often, besides its end
    # besides them stay the best epoch and what going on may need (docs/resuming.md)
    config.checkpoint_keep = 2  # the newest checkpoints that stay
    config.checkpoint_keep_every = 0  # every k-th of all checkpoints stays, too (0 = none)
    # tensorboard | wandb | mlflow | trackio, or several: "tensorboard,wandb" (docs/trackers.md)
    config.track = ""  # who records the run, besides metrics.jsonl ("" = nobody)
    # CPUs and TPUs need no such key; what it costs is in docs/gpu.md
    config.deterministic = False  # on GPUs no operation whose result differs from run to run
    # what it costs is in bench/README.md
    config.overlap_gradients = False  # on TPU slices average gradients beside the backward pass
    # of all epochs of all phases; the other one breaks ties
    config.best_by = "accuracy"  # accuracy | val_loss: a run ends with the epoch best in this
    # measured at the unfreezing and at the end of each cycle (docs/drift.md)
    config.drift_images = 512  # training images that tell how the body's features drift (0 = none)
    # of the phases that train the body; what they cost is in docs/averaging.md
    config.average_cycles = 0  # the last ends of cycles, kept, and averaged if that wins (0 = none)
    # stop (with exit code 3) | skip (that step changes nothing) | rewind (to the last checkpoint,
    # at half the rate); docs/nonfinite.md
    config.on_nonfinite = "stop"  # what follows a loss or gradient that is infinite or no number
    config.nonfinite_skips = 10  # skip: steps in a row; one more stops the run
    config.nonfinite_rewinds = 3  # rewind: times in a phase; the next time stops the run

    config.data = ConfigDict()
    # scikit-learn's digits come with the quickstart
    # folder:PATH | csv:FILE | idx:DIR (gs://, too) | tfds:NAME[/CONFIG] | tfds_dir:PATH | digits
    config.data.source = "digits"  # labelled images
    # unless the phase says otherwise
    config.data.image_size = 224  # pixels a side of what the network sees (0 = as the weights' own)
    config.data.interpolation = "auto"  # bilinear | bicubic | auto (as the weights' authors resize)
    # crop (a square as long as the shorter side; validation sees the middle) | squash (whatever the
    # aspect) | pad (with gray above and below, or beside); docs/data.md
    config.data.fit = "crop"  # how an image becomes a square
    config.data.batch_size = 64  # over all devices
    config.data.valid_fraction = 0.2  # of each class, where the source has no split of its own
    config.data.split_seed = 42  # of that split; independent of `seed`
    config.data.folds = 0  # k-fold: number of stratified folds, instead of that share (0 = no)
    config.data.fold = 0  # which of them validates, from 0
    # none | sampling (each class is drawn equally often) | weights (of the losses, by class)
    config.data.balance = "none"  # what is done about skewed classes
    config.data.views_seed = 42  # of cached views; independent of `seed`, whose runs share them
    config.data.max_pixels = 89_478_485  # larger images are refused by their header
    config.data.skip_bad = False  # continue without unreadable images
    config.data.memory_gb = -1.0  # resized images kept in memory (-1 = a third of the machine's)
    # -1 = half of an accelerator's memory, a sixth of the machine's on CPU
    config.data.cache_memory_gb = -1.0  # cached features on each device; more stay on disk
    config.data.threads = 0  # decoding threads (0 = one per core)
    # for hosts whose decoding threads wait for each other
    config.data.workers = 0  # processes that decode training images beyond memory (0 = threads)

    config.augment = ConfigDict()  # on the device
    # none | side_on | top_down (fastai 0.7's) | fastai2 (its aug_transforms) | imagenet (random
    # resized crop and flip)
    config.augment.preset = "side_on"  # what every key below stands for that is left at None
    config.augment.rotate_degrees = placeholder(float)  # up to, either way, reflected at borders
    config.augment.rotate_probability = placeholder(float)  # of a turn, for each image
    config.augment.max_zoom = placeholder(float)  # up to; then cropped at a random offset
    config.augment.zoom_probability = placeholder(float)  # of a zoom, for each image
    config.augment.perspective = placeholder(float)  # edges longer or shorter by up to this share
    config.augment.perspective_probability = placeholder(float)  # for each axis separately
    config.augment.crop_min_area = placeholder(float)  # of a random resized crop (1 = none)
    config.augment.crop_max_ratio = placeholder(float)  # of its sides, either way
    config.augment.flip = placeholder(bool)  # left-right, half of the time
    config.augment.dihedral = placeholder(bool)  # all 8 flips and quarter turns (satellite photos)
    config.augment.lighting = placeholder(str)  # pixel | logit: what the next two act upon
    config.augment.brightness = placeholder(float)  # up to, either way
    config.augment.contrast = placeholder(float)  # up to, either way
    config.augment.lighting_probability = placeholder(float)  # for each of the two separately
    config.augment.erase_probability = placeholder(float)  # a rectangle in the mean colour
    config.augment.erase_min_area = placeholder(float)  # share of the view
    config.augment.erase_max_area = placeholder(float)  # share of the view
    config.augment.erase_max_ratio = placeholder(float)  # of its sides, either way
    # none | randaugment | trivialaugment: torchvision's (docs/augmentation.md), upon the preset's
    # crop, zoom and flip; its rotation, perspective and lighting are then 0 where left at None
    config.augment.policy = "none"  # operations on geometry and colours, drawn from a list
    config.augment.policy_ops = 2  # randaugment: operations an image
    config.augment.policy_magnitude = 9  # randaugment: of 0 to 30
    config.augment.mixup_alpha = placeholder(float)  # mixed with another image (0 = never)
    config.augment.cutmix_alpha = placeholder(float)  # a part of another image (0 = never)
    config.augment.mix_probability = placeholder(float)  # that either is done to an image
    config.augment.label_smoothing = placeholder(float)  # share spread over all classes

    config.model = ConfigDict()
    config.model.name = "efficientnet_lite0"  # a body; `jaxft models` lists them
    # imagenet | a name of timm's on the Hugging Face hub (tv_in1k, c1_in1k, gluon_in1k, ...) |
    # file:PATH (.safetensors, .pth) | none
    config.model.weights = "imagenet"  # the usual ones: of the quickstart's package, or tv_in1k
    config.model.hidden = (512,)  # widths of the head's hidden layers; () = one linear layer
    config.model.dropout = (0.25, 0.5)  # before each linear layer of the head
    config.model.pooling = "max_avg"  # max_avg | avg
    # float32 | bfloat16 | auto (bfloat16 on TPU and GPU, float32 on CPU). Products of float32 are
    # TF32 on GPU and bfloat16 passes on TPU; JAX_DEFAULT_MATMUL_PRECISION=highest makes them exact
    config.model.dtype = "auto"  # what the body computes in
    # auto (by platform and layer) | native | packed:WIDTH | blocks:WIDTH (2, 4, 8, ... channels) |
    # dense | shifts (depthwise ones only)
    config.model.conv = "auto"  # how convolutions in several groups are lowered

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # sgd | adamw
    config.optimizer.momentum = 0.9  # AdamW's beta1; one_cycle varies it
    config.optimizer.nesterov = False  # sgd only
    config.optimizer.beta2 = 0.99  # adamw only; 0.999 remembers a thousand steps
    config.optimizer.eps = 1e-8  # adamw only
    config.optimizer.weight_decay = 0.0  # sgd: L2; adamw: decoupled
    config.optimizer.decay_towards = "zero"  # zero | start (what a phase begins with: L2-SP)
    config.optimizer.decay_norm_and_bias = False  # decay vectors too
    config.optimizer.clip_norm = 0.0  # longest gradient of a layer group (0 = any)
    config.optimizer.ema_decay = 0.0  # of an average of the weights, which validates and is kept

    config.finder = ConfigDict()  # the learning-rate range test, where a phase says lr="find"
    # auto | still_improving | fall | rise | minimum | valley | steep | slide
    config.finder.rule = "auto"  # for a body rise, then by distance; for a head fall, then trials
    config.finder.steps = 100  # of the sweep over the rates
    config.finder.lo = placeholder(float)  # lowest rate (None = sgd: 1e-7, adamw: 1e-4)
    config.finder.hi = placeholder(float)  # highest rate (None = sgd: 10, adamw: 0.1)
    config.finder.beta = 0.98  # smoothing of the losses, for the rules but fall and rise
    config.finder.stop_factor = 4.0  # stop at this multiple of the best smoothed loss
    config.finder.window_fraction = 1 / 7  # of the steps: still_improving's window
    config.finder.k = 2.0  # standard errors of a clear fall; fall and rise ask for one more

    config.overfit = ConfigDict()  # when cycles="until_overfit" stops
    config.overfit.t = 2.0  # paired t of validation losses against the best epoch's
    config.overfit.patience = 2  # consecutive cycle ends

    config.plan = ConfigDict()  # what `jaxft plan` takes for granted where the source is not there
    config.plan.examples = 0  # training images (0 = not known)
    config.plan.valid_examples = 0  # validation images (0 = by data.valid_fraction)
    config.plan.classes = 0  # number of classes (0 = not known)

    config.phases = (
        phase(name="head_cached", inputs="cached", lr="find", epochs=2),
        phase(name="head_augmented", lr="previous", schedule="sgdr", cycles=3, cycle_epochs=1),
        phase(
            name="full",
            groups={"early": 0.01, "late": 0.1, "head": 1.0},
            lr="find",
            schedule="sgdr",
            warmup_epochs=1,
            cycles="until_overfit",
            cycle_epochs=1,
            cycle_mult=2,
        ),
    )
    return config


def phase(**changes: Any) -> ConfigDict:
    """A phase with every key; `changes` replace the defaults.

    A group that `groups` leaves out gets 0 (frozen).
    """
    groups = {"early": 0.0, "late": 0.0, "head": 0.0, **changes.pop("groups", {"head": 1.0})}
    # `lr` and `cycles` hold a number or a word, so that the command line can set either.
    words = {
        "lr": changes.pop("lr", "find"),  # a rate | "find" | "previous" (the phase before's)
        "cycles": changes.pop("cycles", 1),  # sgdr: a number | "until_overfit"
    }
    config = ConfigDict(
        {
            "name": "phase",  # each phase has another
            "groups": ConfigDict(groups),  # multiplier of the rate by layer group; 0 = frozen
            "inputs": "augmented",  # augmented | cached (features of the frozen body)
            # cached: views of each image, of which an epoch takes one: the evaluation view
            # and augmented ones; 1 = the former alone. From 7 epochs on 4 are worth it
            # (bench/README.md)
            "views": 1,
            "image_size": 0,  # pixels, to begin with small images (0 = data.image_size)
            "schedule": "constant",  # constant | one_cycle | sgdr
            "epochs": 1,  # constant and one_cycle
            "max_cycles": 6,  # sgdr: with until_overfit, the most cycles
            "cycle_epochs": 1,  # sgdr: epochs of the first cycle
            "cycle_mult": 1,  # sgdr: length of a cycle over that of the one before
            "warmup_epochs": 0.0,  # a linear rise at the start; of 20 steps at least, if any
            # BatchNorm of training groups: train (statistics over the whole batch) | rebased (so,
            # and before the first step the body gets these images' statistics, with the scale and
            # bias that leave it as it is, which give way to the batch's over the warm-up; random
            # weights are as with train) | per_device (over each device's share) | frozen (the
            # body's running statistics)
            "bn": "rebased",
            "microbatches": 1,  # parts of a batch, one after the other, to save memory
        }
    )
    for key, value in words.items():
        config[key] = FieldReference(value, field_type=object)
    for key, value in changes.items():
        config[key] = value
    return config
