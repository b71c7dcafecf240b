"""Bodies ranked by linear heads: the head, the choice of its strength, the order, the folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_body
import tiny_config
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from jaxft.cli import main
from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.config.plain import as_dict
from jaxft.errors import Interrupted, UserError
from jaxft.models.registry import BODIES
from jaxft.models.weights import pretrained
from jaxft.report import probe as report
from jaxft.runtime.console import Console
from jaxft.training.probe import bodies, linear, ranking, story
from jaxft.training.probe.bodies import Body
from jaxft.training.probe.folder import Measured
from jaxft.workdir.rows import read_object

PAIR = ["tiny:none", "tiny_grouped:none"]
FACTS = {"parameters": 1000, "gflops": None, "images_per_second": 10.0}


def card(drawn):
    return f"--config=tests/support/tiny_config.py:{drawn}"


@pytest.fixture
def two(tiny, monkeypatch):
    monkeypatch.setitem(BODIES, "tiny_grouped", tiny_body.grouped)


@pytest.fixture(scope="module")
def probed(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe") / "here"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BODIES, "tiny", tiny_body.body)
        patch.setitem(BODIES, "tiny_grouped", tiny_body.grouped)
        config = tiny_config.get_config(drawn)
        return folder, story.probe(config, PAIR, folder, operations=lambda traced: 5e8)


def examples(count, informative, seed=0):
    """Features of 3 classes: some tell the class, the others are noise; their scales differ."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count).astype(np.int32)
    features = random.normal(size=(count, 12))
    features[:, :informative] += 1.5 * labels[:, None]
    scales = 10.0 ** (np.arange(12) % 7 - 3)
    return (features * scales).astype(np.float32), labels


# The head.


def test_the_head_is_logistic_regression(monkeypatch):
    (train, labels), (valid, valid_labels) = examples(120, 2), examples(80, 2, seed=1)
    monkeypatch.setattr(linear, "STRENGTHS", (0.1,))
    found = linear.measure((train, labels), (valid, valid_labels), 3)
    scaler = StandardScaler().fit(train.astype(float))
    peer = LogisticRegression(C=1 / (0.1 * len(train)), tol=1e-8, max_iter=1000)
    peer.fit(scaler.transform(train), labels)
    chances = peer.predict_proba(scaler.transform(valid))
    losses = -np.log(chances[np.arange(len(valid)), valid_labels])
    np.testing.assert_allclose(found.losses, losses, rtol=2e-3, atol=2e-4)
    assert (found.right == (chances.argmax(1) == valid_labels)).all()


def test_the_strength_suits_the_features_and_is_chosen_without_the_validation_examples():
    valid = examples(60, 3, seed=1)
    told, noise = examples(200, 12), examples(200, 0)
    strong, weak = linear.measure(noise, valid, 3).strength, linear.measure(told, valid, 3).strength
    assert weak < 0.1 < strong
    shuffled = valid[0], valid[1][::-1].copy()
    assert linear.measure(told, shuffled, 3).strength == weak


def test_where_no_example_can_be_held_out_the_strength_is_a_usual_one():
    features, labels = np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32)
    found = linear.measure((features, labels), (features, labels), 3)
    assert found.strength == linear.WITHOUT_CHOICE and found.right.all()


def test_a_feature_that_never_changes_does_no_harm():
    train, labels = examples(60, 3)
    train[:, 5] = 7
    assert np.isfinite(linear.measure((train, labels), (train, labels), 3).losses).all()


# The order.


def of(right, loss=0.5):
    return Measured(FACTS, np.full(len(right), loss, np.float32), np.array(right, bool))


def test_bodies_are_ranked_as_a_run_ranks_its_epochs_and_paired_with_the_best():
    a, b, c = (Body(name, "none") for name in "abc")
    found = {a: of([1, 0, 0, 0]), b: of([1, 1, 1, 0], 0.9), c: of([0, 1, 1, 1], 0.8)}
    rows = ranking.ranked(found, "accuracy")
    assert [row["model"] for row in rows] == ["c", "b", "a"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert [row["above_best"]["accuracy"] for row in rows] == [0, 0, -0.5]
    assert rows[2]["above_best"]["val_loss"] == pytest.approx(-0.3)
    assert rows[2]["above_best"]["p"] == pytest.approx(0.375)  # 3 to 1: 2 * 5/16 - 4/16
    assert [row["model"] for row in ranking.ranked(found, "val_loss")] == ["a", "c", "b"]


def test_the_text_names_those_that_are_not_told_from_the_best():
    near, far = Body("near", "none"), Body("far", "none")
    random = np.random.default_rng(0)
    right = random.random(400) < 0.9
    best, close = right.copy(), right.copy()
    close[:2] = False
    best[:2] = True
    found = {
        Body("best", "none"): of(best),
        near: Measured({**FACTS, "images_per_second": 99.0}, *of(close)[1:]),
        far: of(right & (random.random(400) < 0.7)),
    }
    rows = ranking.ranked(found, "accuracy")
    result = {"bodies": rows, "validation_examples": 400, "failed": {"x:none": "too large"}}
    told = report.text(result, Path("place"))
    assert "(p >= 0.05): near:none\n" in told
    assert "the fastest of these and the best: near:none\n" in told
    assert "failed: x:none: too large\n" in told


# The bodies.


def test_a_body_is_a_model_and_weights_and_a_file_may_hold_colons():
    words = ["resnet18", "resnet50:tv_in1k", "resnet18:file:a:b.pth", "resnet18"]
    assert bodies.parsed(words) == [
        ("resnet18", "imagenet"),
        ("resnet50", "tv_in1k"),
        ("resnet18", "file:a:b.pth"),
    ]


def test_the_usual_bodies_are_the_configs_own_and_those_whose_weights_are_here(monkeypatch):
    here = ("resnet34", "efficientnet_lite0")
    monkeypatch.setattr(pretrained, "is_here", lambda name, weights: name in here)
    plain = as_dict(tiny_config.get_config("x"))
    found = [body.name for body in bodies.usual(plain)]
    assert found == ["tiny:none", "efficientnet_lite0:imagenet", "resnet34:imagenet"]


def test_weights_that_need_a_connection_are_not_here(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert pretrained.is_here("efficientnet_lite0", "imagenet")
    assert not pretrained.is_here("resnet18", "imagenet")


def test_all_names_that_do_not_exist_are_listed_before_any_work(drawn, tiny, tmp_path, capsys):
    names = "resnet19,resnet18:tv_in2k,resnet18:file:gone.pth,tiny:none"
    words = ["probe", card(drawn), f"--workdir={tmp_path / 'x'}", f"--bodies={names}"]
    assert main.main([*words, "--config.init_from=run"]) == 2
    told = capsys.readouterr().err
    for part in ("'resnet19'", "'tv_in2k'", "resnet18:file:gone.pth: no such file", "init_from"):
        assert part in told
    assert not (tmp_path / "x").exists()


def test_a_state_dict_of_several_may_be_named(tmp_path):
    (tmp_path / "w.pth").touch()
    body = Body("resnet18", f"file:{tmp_path}/w.pth#state_dict_ema")
    (settings,) = bodies.settings_of(as_dict(tiny_config.get_config("x")), [body])
    assert settings.model.weights == body.weights


@pytest.mark.parametrize("given", ["", "a,,b", ":none"])
def test_bodies_without_a_name_are_refused(given, drawn, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main.main(["probe", card(drawn), f"--workdir={tmp_path / 'x'}", f"--bodies={given}"])
    assert error.value.code == 2 and "should be such as" in capsys.readouterr().err


# The story.


@pytest.mark.slow
def test_every_body_is_in_the_result_with_its_measures(probed):
    folder, result = probed
    rows = result["bodies"]
    assert {row["model"] for row in rows} == {"tiny", "tiny_grouped"} and not result["failed"]
    by_model = {row["model"]: row for row in rows}
    assert by_model["tiny"]["parameters"] == 3 * 9 * 8 + 8 * 9 * 16 + 2 * (8 + 16)
    assert by_model["tiny_grouped"]["parameters"] == 3 * 9 * 8 + 2 * 9 * 16 + 2 * (8 + 16)
    for row in rows:
        low, high = row["accuracy_interval"]
        assert low < row["accuracy"] <= high and row["val_loss_se"] > 0
        assert (row["features"], row["gflops"], row["image_size"]) == (32, 0.5, 32)
        assert row["images_per_second"] > 0
    assert rows[0]["accuracy"] > 0.8, "colours are told apart by the mean of random filters"
    assert read_object(folder / "probe.json") == json.loads(json.dumps(result))
    assert (folder / "probe.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_best_is_a_config_with_its_body(probed, two):
    folder, result = probed
    found = load.read(load_config(str(folder / "best.py")))
    best = result["bodies"][0]
    assert (found.model.name, found.model.weights) == (best["model"], best["weights"])


@pytest.mark.slow
def test_the_same_command_tells_the_result_and_another_is_refused(probed, drawn, two, monkeypatch):
    folder, result = probed
    monkeypatch.setattr(story, "measured", None)
    config = tiny_config.get_config(drawn)
    assert story.probe(config, PAIR, folder) == json.loads(json.dumps(result))
    with pytest.raises(UserError, match="probe of other settings"):
        story.probe(config, PAIR[:1], folder)
    config.data.image_size = 48
    with pytest.raises(UserError, match=r"data\.image_size"):
        story.probe(config, PAIR, folder)


def test_a_folder_with_something_else_is_refused_and_left_alone(drawn, tiny, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="something else than a probe"):
        story.probe(tiny_config.get_config(drawn), PAIR[:1], tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture
def stand_in(monkeypatch):
    """Measures that take no time, the bodies measured, and what happens to a model."""
    calls: list[str] = []
    fate: dict[str, Exception] = {}

    def measured(materials, weights, operations):
        name = materials.model.name
        calls.append(name)
        if name in fate:
            raise fate[name]
        count = len(materials.dataset.valid)
        return of([name == "tiny_grouped"] + [True] * (count - 1))

    monkeypatch.setattr(story, "measured", measured)
    return calls, fate


def test_one_body_that_fails_costs_no_other_and_is_tried_again(stand_in, drawn, two, tmp_path):
    calls, fate = stand_in
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no weights")
    fate["tiny_grouped"] = RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")
    words = [f"resnet18:file:{bad}", "tiny_grouped:none", "tiny:none"]
    config, folder = tiny_config.get_config(drawn), tmp_path / "x"
    result = story.probe(config, words, folder)
    assert [row["model"] for row in result["bodies"]] == ["tiny"]
    assert result["failed"].keys() == set(words[:2])
    assert "ran out of memory with tiny_grouped:none" in result["failed"]["tiny_grouped:none"]
    assert "name = 'tiny'" in (folder / "best.py").read_text().replace('"', "'")
    del fate["tiny_grouped"], calls[:]
    result = story.probe(config, words, folder)
    assert calls == ["tiny_grouped"] and result["failed"].keys() == {words[0]}
    assert "tiny_grouped" in (folder / "best.py").read_text()


def test_a_config_that_was_changed_by_hand_stays(stand_in, drawn, two, tmp_path):
    _, fate = stand_in
    fate["tiny_grouped"] = UserError("too large")
    config = tiny_config.get_config(drawn)
    story.probe(config, PAIR, tmp_path)
    (tmp_path / "best.py").write_text("mine")
    fate.clear()
    story.probe(config, PAIR, tmp_path)
    assert (tmp_path / "best.py").read_text() == "mine"


def test_an_interrupted_probe_goes_on_where_it_was(stand_in, drawn, two, tmp_path):
    calls, fate = stand_in
    fate["tiny_grouped"] = Interrupted()
    config = tiny_config.get_config(drawn)
    with pytest.raises(Interrupted):
        story.probe(config, PAIR, tmp_path)
    assert not (tmp_path / "probe.json").exists()
    fate.clear()
    result = story.probe(config, PAIR, tmp_path)
    assert calls == ["tiny", "tiny_grouped", "tiny_grouped"]
    assert [row["model"] for row in result["bodies"]] == ["tiny_grouped", "tiny"]


def test_where_every_body_fails_all_reasons_are_told(stand_in, drawn, two, tmp_path):
    _, fate = stand_in
    fate |= {name: UserError(f"{name} is odd") for name in ("tiny", "tiny_grouped")}
    with pytest.raises(UserError, match="No body could be measured") as error:
        story.probe(tiny_config.get_config(drawn), PAIR, tmp_path)
    assert error.value.offenders == (
        "tiny:none: tiny is odd",
        "tiny_grouped:none: tiny_grouped is odd",
    )


def test_images_are_read_once_for_bodies_that_see_the_same(stand_in, drawn, two, tmp_path):
    lines: list[str] = []

    class Ears(Console):
        def bar(self, total, what, unit="img", done=0):
            lines.append(what)
            return super().bar(total, what, unit, done)

    story.probe(tiny_config.get_config(drawn), PAIR, tmp_path, Ears(None))
    assert lines == ["reading images"]


def test_features_that_are_not_finite_are_no_features(drawn, tiny, tmp_path, monkeypatch):
    from jaxft.training.probe import measures

    nan = np.full((1, 4), np.nan, np.float32)
    monkeypatch.setattr(measures, "images_per_second", lambda *_: 1.0)
    monkeypatch.setattr(measures, "body_features", lambda *_: nan)
    with pytest.raises(UserError, match="not finite"):
        story.probe(tiny_config.get_config(drawn), PAIR[:1], tmp_path)


def test_the_dtype_of_the_platform_tells_one_probe_from_another(drawn, tiny):
    request = story.requested(tiny_config.get_config(drawn), PAIR[:1], "x")
    model = replace(request.settings[0].model, dtype="bfloat16")
    other = request._replace(settings=[replace(request.settings[0], model=model)])
    assert request.as_json()["dtype"] != other.as_json()["dtype"]
