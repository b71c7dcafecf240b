"""What prediction tells at a terminal."""

import numpy as np

from jaxft.evaluation.prediction_files import Predicted
from jaxft.report.predictions import lines_of


def found(files, probabilities, classes=("cat", "dog", "owl")):
    return Predicted(tuple(files), tuple(classes), np.asarray(probabilities, np.float32))


def test_each_of_a_few_images_has_a_line_with_the_best_classes_first():
    lines = lines_of(found(["a.png", "bb.png"], [[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]))
    assert [line.split() for line in lines] == [
        ["a.png", "0.70", "dog", "0.20", "owl", "0.10", "cat"],
        ["bb.png", "0.50", "cat", "0.30", "owl", "0.20", "dog"],
    ]


def test_lines_fit_the_terminal_whatever_the_names_are():
    wide = "写真" * 60
    names = [f"{'folder/' * 30}end.png", f"{wide}.png", "\x1b]0;owned\x07.png", "caf\udce9"]
    classes = ["c" * 90, wide, "\x9b31m"]
    lines = lines_of(found(names, np.full((4, 3), 1 / 3), classes))
    columns = [sum(2 if char in "写真" else 1 for char in line) for line in lines]
    assert max(columns) <= 80
    assert "end.png" in lines[0] and "\\u001b]0;owned\\u0007.png" in lines[2]
    assert not any(char in "".join(lines) for char in "\x1b\x07\x9b\udce9")


def test_many_images_are_summed_up_by_class():
    probabilities = [[0.95, 0.03, 0.02]] * 12 + [[0.3, 0.4, 0.3]] * 8
    lines = lines_of(found([f"{n}.png" for n in range(20)], probabilities))
    assert [line.split() for line in lines[1:3]] == [["cat", "12", "0.95"], ["dog", "8", "0.40"]]
    assert lines[3] == "sure (p of 0.9 or more) of 60%, unsure (below 0.5) of 40%"


def test_of_many_classes_the_most_frequent_are_named():
    classes = [f"class{n}" for n in range(14)]
    taken = [n for n in range(14) for _ in range(15 - n)]
    lines = lines_of(found(map(str, taken), np.eye(14)[taken], classes))
    assert [line.split()[0] for line in lines[1:11]] == classes[:10]
    assert lines[11].split() == ["4", "more", "classes", "14"]
    assert max(map(len, lines)) <= 80
