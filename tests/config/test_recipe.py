"""Configs are read whole: every mistake at once, and every shipped card."""

import dataclasses
import importlib

import numpy as np
import pytest
import tiny
from places import ROOT

from jaxft.augment.presets import PRESETS
from jaxft.config import load
from jaxft.config.plain import as_dict
from jaxft.config.resolve import resolved
from jaxft.configs import base
from jaxft.errors import UserError

CARDS = sorted(file.stem for file in ROOT.glob("configs/*.py") if file.stem[0] != "_")


def _plain():
    return as_dict(base.get_config())


def _offenders(plain):
    with pytest.raises(UserError) as caught:
        load.from_dict(plain)
    for offender in caught.value.offenders:
        assert offender in str(caught.value)
    return caught.value.offenders


def _assert_listed(offenders, *starts):
    """Each start stands for one offender, and no offender is left over."""
    for start in starts:
        assert any(offender.startswith(start) for offender in offenders), (start, offenders)
    assert len(offenders) == len(starts), offenders


@pytest.mark.parametrize("card", CARDS)
def test_every_shipped_card_reads(card):
    config = importlib.import_module(f"jaxft.configs.{card}").get_config()
    settings = load.read(config)
    assert settings.phases
    assert settings == load.from_dict(as_dict(config))


def test_the_quickstart_is_the_eight_steps():
    from jaxft.configs import quickstart

    cached, augmented, full = load.read(quickstart.get_config()).phases
    assert (cached.inputs, cached.lr, dict(cached.groups)) == ("cached", "find", {"head": 1.0})
    assert (augmented.inputs, augmented.lr, augmented.trains_body) == (
        "augmented",
        "previous",
        False,
    )
    assert augmented.cycle_lengths == (1, 1, 1)
    assert list(full.groups) == ["early", "late", "head"]
    assert full.lr == "find" and full.until_overfit
    assert full.cycle_lengths == (1, 2, 4, 8)


def test_every_mistake_in_the_shape_of_a_config_is_listed_at_once():
    plain = _plain()
    plain["sead"] = 1
    plain["data"]["imagesize"] = 64
    del plain["data"]["image_size"]
    plain["data"]["batch_size"] = "64"
    plain["data"]["skip_bad"] = 1
    plain["model"]["pooling"] = "max"
    plain["model"]["hidden"] = 512
    plain["overfit"] = 2.0
    plain["phases"][0]["groups"] = {"head": "1", "neck": 1.0, "late": -1.0}
    plain["phases"][2]["epochs"] = 1.5
    del plain["phases"][1]["bn"]
    offenders = _offenders(plain)
    expected = [
        "config.sead is not a key; did you mean seed? known: seed, ",
        "config.data.imagesize is not a key; did you mean image_size?",
        "config.data.image_size is missing",
        "config.data.batch_size is '64'; it should be of type int",
        "config.data.skip_bad is 1; it should be of type bool",
        "config.model.pooling is 'max'; it should be one of: max_avg, avg",
        "config.model.hidden is 512; it should be a tuple",
        "config.overfit is 2.0; it should be a section",
        "config.phases.head_cached.groups.head is '1'; it should be a number",
        "config.phases.head_cached.groups.neck is not a layer group; the layer groups are: "
        "early, late, head",
        "config.phases.head_cached.groups.late is -1.0; it should be 0 (frozen) or more",
        "config.phases.head_augmented.bn is missing",
        "config.phases.full.epochs is 1.5; it should be of type int",
    ]
    _assert_listed(offenders, *expected)


def test_every_value_that_makes_no_sense_is_listed_at_once():
    plain = _plain()
    plain["seed"] = -1
    plain["data"].update(image_size=8, batch_size=1, valid_fraction=1.0, split_seed=-1)
    plain["data"].update(source="digits:", memory_gb=-2.0, cache_memory_gb=-0.5)
    plain["model"].update(name="resnet19", weights="imagnet", dropout=[0.5, 1.0, 0.1])
    plain["model"]["conv"] = "packed:100"
    plain["optimizer"].update(name="lion", beta2=1.0, eps=0.0)
    plain["finder"].update(rule="flat", lo=1.0, hi=0.1)
    first, second, third = plain["phases"]
    first.update(lr="previous", groups={"late": 1.0, "head": 1.0})
    second.update(lr="seek", cycles="forever", groups={"early": 0, "late": 0.0, "head": 0.0})
    third.update(lr=0.0, cycle_mult=0, warmup_epochs=-1, name=second["name"], image_size=8192)
    expected = [
        "config.seed should be",
        "config.data.image_size should be from 32 to 4096, or 0 (the weights' own)",
        "config.data.source is 'digits:'; nothing comes after the colon",
        "config.data.memory_gb is -2.0; it should be 0 or more, or -1",
        "config.data.cache_memory_gb is -0.5; it should be 0 or more, or -1",
        "config.data.batch_size should be 2 or more",
        "config.data.valid_fraction should be between 0 and 1",
        "config.data.split_seed should be 0 or more",
        "config.model.name is 'resnet19'; known: efficientnet_lite0, ",
        "config.model.weights is 'imagnet'",
        "config.model.conv is 'packed:100'; it should be one of auto, native, packed:WIDTH, ",
        "config.model.dropout has 3 rates; it should have one more than config.model.hidden (1)",
        "config.model.dropout: every rate",
        "config.optimizer.name is 'lion'; known: sgd, adamw",
        "config.optimizer.beta2 should be at least 0 and less than 1",
        "config.optimizer.eps should be more than 0",
        "config.finder.rule is 'flat'; known: auto, still_improving, ",
        "config.finder: 0 < lo < hi",
        "config.phases: two phases are named 'head_augmented'",
        "config.phases.head_cached.inputs is cached, which can train the head only, not late, head",
        "config.phases.head_cached.lr is 'previous', but no phase comes before it",
        "config.phases[1].groups: every group is frozen",
        "config.phases[1].lr is 'seek'",
        "config.phases[1].cycles is 'forever'; it should be a number or 'until_overfit'",
        "config.phases[2].lr is 0.0; it should be more than 0",
        "config.phases[2].cycle_mult is 0; it should be 1 or more",
        "config.phases[2].warmup_epochs is -1",
        "config.phases[2].image_size is 8192; it should be from 32 to 4096, or 0 (data.image_size)",
    ]
    _assert_listed(_offenders(plain), *expected)


@pytest.mark.parametrize(
    "section, key, value, said",
    [
        ("data", "image_size", 4097, "should be from 32 to 4096"),
        ("data", "source", "folder:", "is 'folder:'; nothing comes after the colon"),
        ("model", "weights", "file:", "is 'file:'; it should be file:PATH or one of"),
        ("optimizer", "beta2", -0.1, " should be at least 0 and less than 1"),
    ],
)
def test_a_value_that_makes_no_sense(section, key, value, said):
    plain = _plain()
    plain[section][key] = value
    (offender,) = _offenders(plain)
    assert offender.startswith(f"config.{section}.{key}") and said in offender


@pytest.mark.parametrize("schedule, epochs", [("constant", 10**11), ("one_cycle", 10_001)])
def test_a_phase_of_too_many_epochs(schedule, epochs):
    plain = _plain()
    plain["phases"][0].update(schedule=schedule, epochs=epochs)
    expected = "config.phases.head_cached: more than 10000 epochs; epochs is too large"
    _assert_listed(_offenders(plain), expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0, -0.1, True, None])
def test_a_learning_rate_is_a_number_above_zero(bad):
    plain = _plain()
    plain["phases"][0]["lr"] = bad
    assert any("config.phases.head_cached.lr" in offender for offender in _offenders(plain))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_are_finite(bad):
    plain = _plain()
    plain["optimizer"]["weight_decay"] = plain["finder"]["k"] = bad
    starts = [f"config.{key} is {bad}" for key in ("optimizer.weight_decay", "finder.k")]
    _assert_listed(_offenders(plain), *starts)


def test_offenders_of_the_optimizer_are_listed():
    plain = _plain()
    plain["optimizer"].update(clip_norm=-1.0, ema_decay=1.0, decay_towards="start")
    wanted = ("clip_norm should be 0 or more", "ema_decay should be", "weight_decay is 0")
    _assert_listed(_offenders(plain), *(f"config.optimizer.{text}" for text in wanted))
    plain["optimizer"].update(clip_norm=1.0, ema_decay=0.9, decay_towards="middle")
    _assert_listed(_offenders(plain), "config.optimizer.decay_towards is 'middle'")


def test_a_recipe_without_phases_is_a_mistake():
    _assert_listed(
        _offenders({**_plain(), "phases": []}), "config.phases should have at least one phase"
    )


def test_frozen_groups_are_left_out_and_the_others_come_in_order():
    plain = _plain()
    plain["phases"][2]["groups"] = {"head": 1, "late": 0, "early": 0.5}
    groups = load.from_dict(plain).phases[2].groups
    assert list(groups.items()) == [("early", 0.5), ("head", 1.0)]


def test_cycles_of_each_schedule():
    growing = {"schedule": "sgdr", "cycle_epochs": 1, "cycle_mult": 2}
    assert tiny.phase(cycles=3, **growing).cycle_lengths == (1, 2, 4)
    assert tiny.phase(cycles="until_overfit", max_cycles=2, **growing).cycle_lengths == (1, 2)
    assert tiny.phase(schedule="constant", epochs=5, cycles=3).cycle_lengths == (5,)
    assert not tiny.phase(cycles="until_overfit").until_overfit


def test_rates_restart_at_the_peak_per_step():
    phase = tiny.phase(schedule="sgdr", cycles=3, cycle_epochs=1, cycle_mult=2)
    rates = phase.rates(0.4, 10)(np.arange(70))
    np.testing.assert_allclose(rates[[0, 10, 30]], 0.4)
    np.testing.assert_allclose(rates[[5, 20, 50]], 0.2)
    assert np.flatnonzero(np.diff(rates) > 0).tolist() == [9, 29]


@pytest.mark.parametrize("schedule", ["sgdr", "constant", "one_cycle"])
def test_a_warm_up_comes_before_the_schedule_and_later_cycles_start_on_time(schedule):
    phase = tiny.phase(schedule=schedule, epochs=2, cycles=2, warmup_epochs=0.4)
    plain = tiny.phase(schedule=schedule, epochs=2, cycles=2)
    rates = phase.rates(0.5, 100)(np.arange(200))
    first = plain.rates(0.5, 100)(0)
    np.testing.assert_allclose(rates[:41], first * np.arange(1, 42) / 41)
    if schedule == "sgdr":
        np.testing.assert_allclose(rates[[40, 70, 100]], [0.5, 0.25, 0.5])


def test_a_warm_up_of_short_epochs_lasts_twenty_steps_and_later_cycles_start_on_time():
    phase = tiny.phase(schedule="sgdr", cycles=3, cycle_mult=2, warmup_epochs=1.0)
    rates = phase.rates(0.5, 9)(np.arange(63))  # cycles of 9, 18 and 36 steps
    np.testing.assert_allclose(rates[:21], 0.5 * np.arange(1, 22) / 21)
    assert (np.diff(rates[20:27]) < 0).all() and rates[26] < 0.05
    assert rates[27] == 0.5 and (np.diff(rates[27:]) < 0).all()


@pytest.mark.parametrize(
    ("steps_per_epoch", "warm"), [(1, 2), (2, 4), (9, 20), (21, 20), (22, 21), (50, 49)]
)
def test_a_warm_up_takes_a_third_of_a_short_phase_at_most(steps_per_epoch, warm):
    phase = tiny.phase(schedule="sgdr", cycles=3, cycle_mult=2, warmup_epochs=1.0)
    assert phase.warm_steps(steps_per_epoch) == warm
    assert tiny.phase(schedule="sgdr", cycles=3).warm_steps(steps_per_epoch) == 0


def test_one_cycle_rises_and_falls_over_the_whole_phase():
    rates = tiny.phase(schedule="one_cycle", epochs=4).rates(1.0, 10)(np.arange(40))
    assert rates.argmax() == 10 and rates[0] == pytest.approx(1 / 25) and rates[-1] < 0.01


def test_ends_of_a_sweep_that_cross_are_both_named():
    plain = _plain()
    plain["optimizer"]["name"] = "adamw"
    plain["finder"]["lo"] = 0.2
    (said,) = _offenders(plain)
    assert "lo is 0.2, hi 0.1" in said
    plain["optimizer"]["name"] = "lion"
    plain["finder"]["lo"] = 5.0
    (said,) = _offenders(plain)
    assert "config.optimizer.name" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedule": "sgdr", "cycle_epochs": 1, "warmup_epochs": 1.5}, "from 0 to 1"),
        ({"schedule": "constant", "epochs": 2, "warmup_epochs": 2.5}, "from 0 to 2"),
        ({"schedule": "one_cycle", "epochs": 2, "warmup_epochs": 1.0}, "a warm-up of its own"),
    ],
)
def test_a_warm_up_fits_into_the_first_cycle(changes, said):
    plain = _plain()
    plain["phases"][1].update(cycles=2, **changes)
    (offender,) = _offenders(plain)
    assert offender.startswith("config.phases.head_augmented.warmup_epochs") and said in offender


@pytest.mark.parametrize(("optimizer", "ends"), [("sgd", (1e-7, 10.0)), ("adamw", (1e-4, 0.1))])
def test_the_range_test_goes_through_the_rates_of_its_optimizer(optimizer, ends):
    config = base.get_config()
    config.optimizer.name = optimizer
    assert (load.read(config).finder.lo, load.read(config).finder.hi) == ends
    found = resolved(config)["finder"]
    assert (found["lo"], found["hi"]) == ends
    config.finder.hi = 0.5
    assert (load.read(config).finder.lo, load.read(config).finder.hi) == (ends[0], 0.5)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_fills_what_the_config_leaves_open(preset):
    config = base.get_config()
    config.augment.preset = preset
    assert load.read(config).augment == PRESETS[preset]
    config.augment.flip = False
    config.augment.brightness = 0.3
    changed = dataclasses.replace(PRESETS[preset], flip=False, brightness=0.3)
    assert load.read(config).augment == changed
    assert resolved(config)["augment"] == dataclasses.asdict(changed)


def test_a_policy_takes_the_place_of_what_the_config_leaves_open():
    """Rotation, perspective and lighting of the preset; crop, zoom and flip stay."""
    config = base.get_config()
    config.augment.preset, config.augment.policy = "fastai2", "randaugment"
    config.augment.contrast = 0.1
    found = load.read(config).augment
    assert found == dataclasses.replace(
        PRESETS["fastai2"],
        policy="randaugment",
        rotate_degrees=0.0,
        perspective=0.0,
        brightness=0.0,
        contrast=0.1,
    )
    assert (found.policy_ops, found.policy_magnitude) == (2, 9)
    config.augment.rotate_degrees = 5.0
    assert _offenders(as_dict(config))[0].startswith("config.augment.rotate_degrees is 5.0")


def test_senseless_augmentations_are_listed():
    plain = _plain()
    plain["augment"] |= {
        "lighting": "logit",
        "contrast": 1.0,
        "brightness": -0.1,
        "rotate_probability": 1.5,
        "max_zoom": 0.9,
        "perspective": 0.4,
        "crop_min_area": 0.0,
        "crop_max_ratio": 0.5,
        "erase_min_area": 0.5,
        "mixup_alpha": -1.0,
        "label_smoothing": 1.0,
    }
    names = ["rotate_probability", "brightness", "max_zoom", "crop_max_ratio", "mixup_alpha"]
    names += ["perspective", "crop_min_area", "label_smoothing", "contrast"]
    expected = [f"config.augment.{name} " for name in names]
    _assert_listed(_offenders(plain), *expected, "config.augment: erase_min_area ")
    plain = _plain()
    plain["augment"]["preset"] = "sideways"
    _assert_listed(_offenders(plain), "config.augment.preset is 'sideways'; it should be one of")
