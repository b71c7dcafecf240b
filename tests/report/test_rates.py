"""`rates.png`, and the marks that it and `losses.png` share."""

import numpy as np
import pytest
import tiny
from matplotlib import image
from matplotlib.figure import Figure

from jaxft.report import losses, marks, rates

STEPS = 10
HEAD = tiny.phase(name="head", epochs=2, schedule="constant")
FULL = tiny.phase(
    name="full", groups=tiny.ALL_GROUPS, schedule="sgdr", cycles=2, cycle_epochs=1, cycle_mult=2
)
TOLD = [{"lr": 0.5, "epochs": 2}, {"lr": 0.1, "epochs": 3}]


def row(number, phase, epoch, cycle):
    groups = (HEAD if phase == "head" else FULL).groups
    return {
        "phase": phase, "epoch": epoch, "cycle": cycle, "global_step": (number + 1) * STEPS,
        "lr": dict(groups), "trn_loss": 0.5, "val_loss": 0.4, "accuracy": 0.5 + number / 10,
    }  # fmt: skip


ROWS = [
    row(0, "head", 0, 0), row(1, "head", 1, 0),
    row(2, "full", 0, 0), row(3, "full", 1, 1), row(4, "full", 2, 1),
]  # fmt: skip


@pytest.fixture
def drawn_figure(monkeypatch):
    """The figures that would be written."""
    kept: list[Figure] = []
    for module in (losses, rates):
        monkeypatch.setattr(module, "save_figure", lambda figure, path: kept.append(figure))
    return kept


def test_rates_of_every_step_are_those_that_the_phases_trained_with():
    found = rates.rates_of((HEAD, FULL), TOLD, STEPS)
    assert {group: len(values) for group, values in found.items()} == dict.fromkeys(
        ("early", "late", "head"), 5 * STEPS
    )
    np.testing.assert_array_equal(found["head"][:20], 0.5)
    assert np.isnan(found["early"][:20]).all() and np.isnan(found["late"][:20]).all()
    np.testing.assert_array_equal(found["head"][20:], FULL.rates(0.1, STEPS)(np.arange(30)))
    np.testing.assert_allclose(found["early"][20:], found["head"][20:] / 4)
    assert found["head"][30] == 0.1 > found["head"][29]  # the restart


def test_rates_that_were_halved_are_drawn_as_they_were():
    told = {"lr": 0.125, "epochs": 2, "rewinds": [10, 15]}
    found = rates.rates_of((HEAD,), [told], STEPS)["head"]
    np.testing.assert_array_equal(found, [0.5] * 10 + [0.25] * 5 + [0.125] * 5)


def test_a_group_that_never_learns_has_no_line():
    assert list(rates.rates_of((HEAD,), TOLD[:1], STEPS)) == ["head"]


def test_the_places_of_all_marks():
    assert marks.places(ROWS) == [
        marks.Place("phase", 0, "head"),
        marks.Place("phase", 2, "full"),
        marks.Place("layers unfrozen", 2),
        marks.Place("restart of a cycle", 3),
    ]
    assert marks.row_of(ROWS, {"phase": "full", "epoch": 1}) == 3


def lines_at(axes, kind):
    """x of the vertical lines of a kind, which are drawn in its style."""
    style = marks.STYLES[kind]
    found = [line for line in axes.get_lines() if len(set(line.get_xdata())) == 1]
    same = [
        line for line in found
        if (line.get_color(), line.get_linestyle()) == (style["color"], style.get("ls", "-"))
    ]  # fmt: skip
    return sorted(float(line.get_xdata()[0]) for line in same if line.get_marker() == "None")


def test_a_line_for_each_group_and_the_marks_at_their_steps(drawn_figure, tmp_path):
    found = rates.rates_of((HEAD, FULL), TOLD, STEPS)
    rates.plot_rates(found, ROWS, {"phase": "full", "epoch": 1}, tmp_path)
    (axes,) = drawn_figure[0].axes
    drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    for group, values in found.items():
        np.testing.assert_array_equal(drawn[group], values)
    assert axes.get_yscale() == "log"
    assert lines_at(axes, "phase") == [0, 20]
    assert lines_at(axes, "layers unfrozen") == [20]
    assert lines_at(axes, "restart of a cycle") == [30]
    assert lines_at(axes, "epoch kept") == [40]
    (legend,) = drawn_figure[0].legends
    told = {text.get_text() for text in legend.get_texts()}
    assert told == {"layers unfrozen", "restart of a cycle", "epoch kept"}


def test_losses_have_the_marks_between_their_epochs(drawn_figure, tmp_path):
    kept = {**ROWS[3], "phase": "full", "epoch": 1}
    losses.plot_losses(ROWS, kept, tmp_path)
    for axes in drawn_figure[0].axes:
        assert lines_at(axes, "layers unfrozen") == [2.5]
        assert lines_at(axes, "restart of a cycle") == [3.5]
        assert lines_at(axes, "epoch kept") == [4]


def test_names_of_short_phases_do_not_overlap(drawn_figure, tmp_path):
    names = [f"a_phase_with_a_long_name_{number}" for number in range(4)]
    rows = [{**ROWS[0], "phase": name} for name in names] + [{**ROWS[0], "phase": "z"}] * 20
    rows[4:] = [{**one, "epoch": number} for number, one in enumerate(rows[4:])]
    names += ["z", "a_phase_at_the_right_edge"]
    rows.append({**ROWS[0], "phase": names[-1]})
    losses.plot_losses(rows, rows[0], tmp_path)
    figure = drawn_figure[0]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert [text.get_text() for text in figure.axes[0].texts] == names
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
        assert 0 <= box.x0 < box.x1 <= figure.axes[0].bbox.x1 and box.y1 <= figure.bbox.y1


def test_both_pictures_of_a_run_of_one_phase_are_written(tmp_path):
    for rows in (ROWS[:1], ROWS[:2]):
        told = [{"lr": 0.5, "epochs": len(rows)}]
        found = rates.rates_of((HEAD,), told, STEPS)
        rates.plot_rates(found, rows, rows[0], tmp_path / "rates.png")
        losses.plot_losses(rows, rows[0], tmp_path / "losses.png")
        for name in ("rates.png", "losses.png"):
            assert min(image.imread(tmp_path / name).shape[:2]) > 200
