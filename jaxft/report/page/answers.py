"""The validation set on the page: classes, confusion, calibration, the most wrong images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxft.report.page import chart
from jaxft.report.page.axes import Scale
from jaxft.report.page.chart import Chart, Dot, Entry, Line
from jaxft.report.page.contents import Contents
from jaxft.report.page.text import count, four, is_number

TABLE_CLASSES = 20  # up to which the confusion matrix is a table of numbers
SHORT = 3  # letters that fit over a column of the matrix
FEW = 20  # rows of a table that are shown at once
CLASS_HEADS = ("class", "images", "predicted", "precision", "recall", "F1")
LEVELS = 9  # shades of a cell
LARGEST, SMALLEST = 9.0, 2.5  # radius of a dot of the calibration's chart


class ClassRow(NamedTuple):
    """A row of the table of classes, in words."""

    name: str
    images: str
    predicted: str
    precision: str
    recall: str
    f1: str


class Pair(NamedTuple):
    """Two classes, and how many images of the one were taken for the other."""

    true: str
    predicted: str
    images: str


class Cell(NamedTuple):
    """A cell of the confusion matrix; `kind` is a class of the style sheet."""

    kind: str
    images: int
    title: str
    column: int
    row: int


class Confusion(NamedTuple):
    """The confusion matrix: rows of true classes; as a picture, cells that hold an example."""

    classes: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    as_table: bool

    @property
    def heads(self) -> list[str]:
        """Heads of the columns: the classes' names if all are short, else their numbers."""
        if max(map(len, self.classes)) <= SHORT:
            return list(self.classes)
        return [str(number) for number in range(1, len(self.classes) + 1)]

    @property
    def cells(self) -> list[Cell]:
        """The cells that hold an example."""
        return [cell for row in self.rows for cell in row if cell.images]


class Calibration(NamedTuple):
    """Calibration in words, and its chart."""

    told: str
    chart: Chart


class WrongRow(NamedTuple):
    """An image that is wrong, in words."""

    file: str
    true: str
    predicted: str
    p_true: str
    p_predicted: str
    loss: str


def about(scores: Mapping[str, Any]) -> str:
    """Tell which images and weights the scores are of."""
    views = scores.get("tta")
    more = f", mean over {views} random views and the plain one" if views else ""
    ranks = [f"{k} for {share_of(value)}" for k, value in scores.get("top_k", {}).items()]
    top = f". The right class is among the most probable {', '.join(ranks)}" if ranks else ""
    balanced = scores.get("balanced_accuracy")
    mean = f" ({four(balanced)} as the mean over classes)" if is_number(balanced) else ""
    return (
        f"{count(scores.get('examples'))} images of the split {scores.get('split', 'valid')}, "
        f"{scores.get('weights', 'best')} weights{more}: accuracy {four(scores.get('accuracy'))}"
        f"{mean}, loss {four(scores.get('loss'))}{top}."
    )


def share_of(value: Any) -> str:
    """Write a share in percent with a decimal."""
    return f"{value:.1%}" if is_number(value) else four(None)


def class_rows(scores: Mapping[str, Any]) -> list[ClassRow]:
    """Return a row for each class, that with the lowest F1 first."""
    told = sorted(scores.get("per_class", ()), key=_f1)
    return [
        ClassRow(
            str(row.get("class")),
            count(row.get("count")),
            count(row.get("predicted")),
            four(row.get("precision")),
            four(row.get("recall")),
            four(row.get("f1")),
        )
        for row in told
    ]


def _f1(row: Mapping[str, Any]) -> float:
    f1 = row.get("f1")
    return float(f1) if is_number(f1) else 2.0  # without an example, last


def confused(scores: Mapping[str, Any]) -> list[Pair]:
    """Return the pairs of classes that are confused most often."""
    pairs = scores.get("most_confused", ())[:FEW]
    return [Pair(str(p.get("true")), str(p.get("predicted")), count(p.get("count"))) for p in pairs]


def confusion(found: Contents) -> Confusion | None:
    """Return the confusion matrix with shades by the share of the true class; None without one."""
    matrix = found.scores.get("confusion")
    names = [str(row.get("class")) for row in found.scores.get("per_class", ())]
    if not matrix or len(names) != len(matrix):
        return None
    rows = [
        [_cell(counts, row, column, names) for column in range(len(counts))]
        for row, counts in enumerate(matrix)
    ]
    return Confusion(names, rows, len(names) <= TABLE_CLASSES)


def _cell(counts: Sequence[int], row: int, column: int, names: Sequence[str]) -> Cell:
    number, whole = counts[column], sum(counts)
    level = max(round(LEVELS * number / whole), 1) if number else 0
    kind = f"{'right' if row == column else 'wrong'} h{level}" if number else "none"
    title = f"{number:,} of {whole:,} images of {names[row]} predicted as {names[column]}"
    return Cell(kind, number, title, column, row)


def calibration(scores: Mapping[str, Any]) -> Calibration | None:
    """Return calibration, in words and as a reliability diagram; None where it is not known."""
    told = scores.get("calibration") or {}
    bins = [one for one in told.get("bins", ()) if is_number(one.get("confidence"))]
    if not bins:
        return None
    words = f"Confidence and accuracy are {share_of(told.get('error'))} apart on average"
    temperature = told.get("temperature")
    if is_number(temperature):
        words += (
            f". A temperature of {temperature:.2f} would make that "
            f"{share_of(told.get('error_after'))}, and the loss {four(told.get('loss_after'))}; "
            f"{_verdict(temperature)}"
        )
    return Calibration(f"{words}.", _reliability(bins))


def _verdict(temperature: float) -> str:
    """Tell what a temperature means."""
    if temperature > 1.05:
        return "it is more than 1, so the network is too sure of itself"
    if temperature < 0.95:
        return "it is less than 1, so the network is less sure than it could be"
    return "it is close to 1, so the probabilities can be taken at their word"


def _reliability(bins: Sequence[Mapping[str, Any]]) -> Chart:
    """Draw accuracy against confidence; a dot's area grows with the examples in its bin."""
    across, up = (
        Scale(0, 1, chart.LEFT, chart.RIGHT - LARGEST),
        Scale(0, 1, chart.BOTTOM, chart.TOP + LARGEST),
    )
    most = max(one["count"] for one in bins)
    dots = [
        Dot(
            across(one["confidence"]),
            up(one["accuracy"]),
            f"{one['count']:,} images, confidence {four(one['confidence'])}, "
            f"accuracy {four(one['accuracy'])}",
            round(max(LARGEST * (one["count"] / most) ** 0.5, SMALLEST), 2),
        )
        for one in bins
    ]
    path = "L".join(f"{dot.x:g} {dot.y:g}" for dot in dots)
    ideal = f"M{across(0):g} {up(0):g}L{across(1):g} {up(1):g}"
    return Chart(
        key="calibration",
        title="Accuracy by confidence",
        told=f"{len(bins)} ranges of confidence, {sum(one['count'] for one in bins):,} images",
        x_label="probability of the predicted class",
        x_ticks=across.ticks(),
        y_ticks=up.ticks(),
        lines=[Line("ideal", ideal), Line("s1", f"M{path}", dots)],
        legend=[Entry("s1", "images, by confidence"), Entry("ideal", "where both are equal")],
    )


def wrong_rows(found: Contents) -> list[WrongRow]:
    """Return the most wrong images, at most FEW."""
    columns = ("p_true", "p_predicted", "loss")
    return [
        WrongRow(
            row.get("file", ""),
            row.get("true", ""),
            row.get("predicted", ""),
            *(four(_parsed(row.get(column, ""))) for column in columns),
        )
        for row in found.wrong[:FEW]
    ]


def _parsed(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
