import pytest

from jaxft.report import readiness


def measured(epoch=0, accuracy=0.9, old=0.9, refitted=0.9, cka=(1.0, 1.0), **more):
    return {
        **{"epoch": epoch, "images": 512, "valid_images": 400, "accuracy": accuracy},
        **{"val_loss": 0.5, "old_head": {"accuracy": old, "val_loss": 0.5}},
        **{"refitted_accuracy": refitted, "cka": dict(zip(("early", "late"), cka, strict=True))},
        **more,
    }


def test_a_head_that_reads_as_well_as_a_refitted_one_is_ready():
    told = readiness.of_head(measured(accuracy=0.9, refitted=0.92, rise=1.9, least_loss=0.4))
    assert told.startswith("the head was ready") and "512 images has 0.9200" in told


def test_a_head_that_a_refitted_one_beats_is_not():
    assert "was not ready" in readiness.of_head(measured(accuracy=0.8, refitted=0.9))


def test_a_head_whose_loss_has_risen_has_over_fitted():
    told = readiness.of_head(measured(rise=2.5, least_loss=0.4))
    assert (
        "had over-fitted" in told
        and "was 0.5000, and had been 0.4000, 2.5 standard errors less" in told
    )


@pytest.mark.parametrize(
    ("cka", "words"),
    [
        ((0.99, 0.96), "features moved little"),
        ((0.99, 0.9), "features moved ("),
        ((0.9, 0.6), "features moved far (CKA early 0.90, late 0.60)"),
        ((None, None), "features moved little (CKA early unknown"),
    ],
)
def test_words_follow_the_group_that_moved_most(cka, words):
    phase = {"best_epoch": 0, "drift": [measured(), measured(1, cka=cka)]}
    assert readiness.of_features(phase).startswith(words)


@pytest.mark.parametrize(
    ("old", "refitted", "words"),
    [
        (0.88, 0.97, "of before reads them as well"),
        (0.5, 0.97, "of before no longer reads them"),
        (0.97, 0.97, "of before reads them better"),
        (0.9, 0.97, "refitted on them gains (0.9700 after 0.9000)"),
        (0.9, 0.8, "refitted on them loses"),
        (0.9, 0.92, "refitted on them gains nothing sure"),
    ],
)
def test_words_on_heads_go_by_two_standard_errors(old, refitted, words):
    phase = {"best_epoch": 0, "drift": [measured(), measured(1, old=old, refitted=refitted)]}
    assert words in readiness.of_features(phase)


@pytest.mark.parametrize(("best", "cka"), [(0, 0.9), (1, 0.8), (2, 0.8), (3, 0.8)])
def test_the_end_is_that_of_the_cycle_of_the_best_epoch(best, cka):
    rows = [measured(), measured(1, cka=(1, 0.9)), measured(3, cka=(1, 0.8))]
    assert f"late {cka:.2f}" in readiness.of_features({"best_epoch": best, "drift": rows})


def test_phases_are_named_where_several_trained_the_body():
    one = {"name": "late", "best_epoch": 0, "drift": [measured(), measured(1)]}
    assert len(readiness.verdicts([{"name": "head"}, one])) == 2
    assert readiness.verdicts([one, {**one, "name": "all"}])[2].startswith("all: the head was")
