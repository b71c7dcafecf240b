"""The card: a head that the hub reads, and what the run says of itself."""

import json
from typing import Any

import huggingface_hub
import pytest
import yaml

from jaxft.evaluation.evaluate import evaluate
from jaxft.export import opening
from jaxft.export.card import About, Section, card

SECTIONS = [Section("stablehlo", "Run it so.", 1.23e-7)]


def written(workdir, which="best", change=lambda subject: subject):
    subject = change(opening.of_run(workdir, which))
    about = About(subject, opening.contents(workdir, which), "50 made-up images")
    return card("flowers", about, SECTIONS)


def head_of(text):
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def test_the_head_tells_the_hub_what_is_known(finished, tiny):
    origin = {"license": "bsd-3-clause", "repository": "timm/resnet18.tv_in1k"}
    text = written(finished, change=lambda subject: subject._replace(origin=origin))
    head = head_of(text)
    assert head["license"] == "bsd-3-clause"
    assert head["base_model"] == "timm/resnet18.tv_in1k"
    assert (head["library_name"], head["pipeline_tag"]) == ("jax", "image-classification")
    assert head["tags"] == ["image-classification", "jaxft", "stablehlo"]
    assert head["datasets"] == ["images"], "the folder's name, and not where it lies"
    data: Any = huggingface_hub.ModelCard(text).data
    (accuracy, *_) = data.eval_results
    assert accuracy.metric_type == "accuracy" and accuracy.dataset_split == "validation"
    found = json.loads((finished / "valid" / "metrics.json").read_text())
    assert accuracy.metric_value == round(found["accuracy"], 4)
    assert "from `timm/resnet18.tv_in1k` by jaxft" in text and "bsd-3-clause" in text


def test_what_nobody_knows_is_left_out_of_the_head(finished, tiny):
    text = written(finished)
    assert not {"license", "base_model"} & head_of(text).keys()
    assert "fine-tuned from random weights" in text


def test_numbers_are_those_of_an_evaluation_with_their_interval(finished, tiny):
    text, scores = written(finished), evaluate(finished).scores
    low, high = scores["accuracy_interval"]
    told = f"{scores['accuracy']:.1%} (95% interval by Wilson: {low:.1%} to {high:.1%})"
    assert f"| accuracy | {told} |" in text
    assert f"| calibration error (15 bins) | {scores['calibration']['error']:.1%} |" in text
    assert "Trained on 29 images of `images`; 13 others were for validation." in text
    for row in scores["per_class"]:
        assert f"| {row['class']} | {row['count']} | " in text


def test_each_format_says_how_it_runs_and_how_far_it_is_from_the_run(finished, tiny):
    text = written(finished)
    assert "### stablehlo\n\nRun it so.\n\nCompared with the run's own probabilities" in text
    assert "on 50 made-up images: the largest difference is 1.2e-07." in text


def test_metrics_of_other_weights_are_not_told(finished, tiny):
    text = written(finished, "last")
    assert "model-index" not in head_of(text)
    assert "The run has left none for these weights." in text and "Wilson" not in text
    assert "| blue |" in text, "the classes are told all the same"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a|b", "a\\|b"),
        ("<b>", "\\<b\\>"),
        ("*star*", "\\*star\\*"),
        ("line\nbreak", "line break"),
        ("Ä 日本 🐈", "Ä 日本 🐈"),
    ],
)
def test_a_class_of_any_name_keeps_the_table_whole(name, shown, finished, tiny):
    def renamed(subject):
        return subject._replace(classes=(name, "green", "red"))

    rows = written(finished, "last", renamed).split("|---|\n")[1].splitlines()
    assert rows[:3] == [f"| {shown} |", "| green |", "| red |"]
