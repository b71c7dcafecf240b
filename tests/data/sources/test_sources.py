"""Sources: listing, splits, and complete complaints that change nothing."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxft.data import Dataset
from jaxft.data.images.sizing import Sizing
from jaxft.data.sources.files import files_split, image_files
from jaxft.data.sources.left_out import left_out_in_words
from jaxft.data.sources.registry import open_dataset
from jaxft.errors import UserError
from jaxft.runtime import csv_rows


def make(root: Path, *files: str) -> Path:
    for number, name in enumerate(files):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (number % 256, 0, 0)).save(path, "png")
    return root


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def short(dataset: Dataset, root: Path, side: str) -> list[tuple[str, str]]:
    split = getattr(dataset, side)
    classes = [dataset.classes[label] for label in split.labels]
    return [(os.path.relpath(n, root), c) for n, c in zip(split.names, classes, strict=True)]


def failure(source: str) -> UserError:
    with pytest.raises(UserError) as caught:
        open_dataset(source)
    return caught.value


class TestDigits:
    def test_the_quickstart_split(self):
        dataset = open_dataset("digits", valid_fraction=0.3, split_seed=42)
        assert dataset.classes == tuple("0123456789")
        assert (len(dataset.train), len(dataset.valid)) == (1257, 540)
        assert not set(dataset.train.names) & set(dataset.valid.names)
        counts = np.bincount(np.concatenate([dataset.train.labels, dataset.valid.labels]))
        assert np.abs(np.bincount(dataset.valid.labels) - 0.3 * counts).max() < 1
        assert dataset.train.labels.dtype == np.int32

    def test_pixels_and_labels_are_those_of_their_names(self):
        from sklearn.datasets import load_digits

        bunch, split = load_digits(), open_dataset("digits").valid
        for i in (0, 100, 539):
            number = int(split.names[i].removeprefix("digits/"))
            assert bunch.target[number] == split.labels[i]
            pixels = split.read(i)
            assert pixels.dtype == np.uint8 and pixels.shape == (8, 8, 3)
            np.testing.assert_allclose(pixels[..., 1] / 255 * 16, bunch.images[number], atol=0.04)
        assert split.read(0, Sizing(71)).shape == (71, 71, 3)


class TestFolder:
    @pytest.mark.parametrize(
        "names", [("train", "valid"), ("Train", "val"), ("training", "validation")]
    )
    def test_given_split(self, tmp_path, names):
        train, valid = names
        make(tmp_path, f"{train}/b/2.png", f"{train}/b/1.PNG", f"{train}/a/x/deep.jpg")
        make(tmp_path, f"{valid}/b/3.png", f"{valid}/.hidden/1.png", "Test/b/4.png")
        (tmp_path / train / "b" / "notes.txt").touch()
        (tmp_path / train / "b" / "._1.png").touch()
        dataset = open_dataset(f"folder:{tmp_path}")
        assert dataset.classes == ("a", "b")
        assert short(dataset, tmp_path / train, "train") == [
            ("a/x/deep.jpg", "a"),
            ("b/1.PNG", "b"),
            ("b/2.png", "b"),
        ]
        assert short(dataset, tmp_path / valid, "valid") == [("b/3.png", "b")]
        assert short(dataset, tmp_path / "Test", "test") == [("b/4.png", "b")]
        assert dataset.train.read(1)[0, 0, 0] == 1

    def test_own_split(self, tmp_path):
        make(tmp_path, *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(10)))
        dataset = open_dataset(f"folder:{tmp_path}", valid_fraction=0.2)
        assert np.bincount(dataset.valid.labels).tolist() == [2, 2]
        assert np.bincount(dataset.train.labels).tolist() == [8, 8]
        for split in (dataset.train, dataset.valid):
            for i, (name, label) in enumerate(zip(split.names, split.labels, strict=True)):
                assert Path(name).parent.name == dataset.classes[label]
                number = 10 * label + int(Path(name).stem)
                assert split.read(i)[0, 0, 0] == number
                assert split.identity[i].startswith(name)
        again = open_dataset(f"folder:{tmp_path}", valid_fraction=0.2)
        assert again.valid.names == dataset.valid.names

    def test_train_alone_is_split(self, tmp_path):
        make(tmp_path, *(f"train/{name}/{i}.png" for name in "ab" for i in range(4)))
        dataset = open_dataset(f"folder:{tmp_path}")
        assert dataset.classes == ("a", "b") and len(dataset.valid) == 3

    @pytest.mark.parametrize("unlabelled", ["test/1.png", "test/unknown/1.png"])
    def test_unlabelled_images_for_testing_are_left_alone(self, tmp_path, unlabelled):
        make(tmp_path, *(f"{side}/{name}/1.png" for side in ("train", "valid") for name in "ab"))
        make(tmp_path, unlabelled)
        assert open_dataset(f"folder:{tmp_path}").test is None

    def test_a_class_may_be_called_train(self, tmp_path):
        make(tmp_path, *(f"{name}/{i}.png" for name in ("train", "plane") for i in range(4)))
        assert open_dataset(f"folder:{tmp_path}").classes == ("plane", "train")

    def test_unicode_names_match_in_either_form(self, tmp_path):
        composed, decomposed = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))
        make(tmp_path, f"train/{decomposed}/ü 1'\".png", "train/a/1.png", f"valid/{composed}/2.png")
        dataset = open_dataset(f"folder:{tmp_path}")
        assert dataset.classes == (composed, "a") and dataset.valid.labels.tolist() == [0]

    def test_links_are_followed_but_not_in_circles(self, tmp_path):
        make(tmp_path / "data", "a/1.png", "a/2.png")
        make(tmp_path / "elsewhere", "1.png", "2.png")
        (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data" / "a")
        (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data")
        dataset = open_dataset(f"folder:{tmp_path / 'data'}")
        # a/up leads to a itself again, and its b is no part of class a.
        assert dataset.classes == ("a", "b")
        names = [*dataset.train.names, *dataset.valid.names]
        assert len(names) == len(set(names)) == 4

    def test_home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        make(tmp_path / "d", "a/1.png", "a/2.png", "b/1.png", "b/2.png")
        assert len(open_dataset("folder:~/d").train) == 2

    def test_a_name_that_only_looks_like_a_home_stays_as_it_is(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        make(tmp_path / "~nosuchuser", "a/1.png", "a/2.png", "b/1.png", "b/2.png")
        assert len(open_dataset("folder:~nosuchuser").train) == 2

    def test_only_what_programs_leave_is_no_class(self, tmp_path):
        make(tmp_path, *(f"{name}/{i}.png" for name in ("__background__", "a") for i in range(2)))
        make(tmp_path, "__MACOSX/1.png", "__pycache__/1.png", ".ipynb_checkpoints/1.png")
        assert open_dataset(f"folder:{tmp_path}").classes == ("__background__", "a")

    def test_all_that_is_wrong_in_one_message(self, tmp_path):
        make(tmp_path, "train/a/1.png", "train/b/1.png", "valid/a/1.png")
        make(tmp_path, "valid/c/1.png", "valid/c/2.png", "valid/d/1.png")
        make(tmp_path, "test/a/1.png", "test/e/1.png")
        (tmp_path / "train" / "empty").mkdir()
        (tmp_path / "valid" / "void").mkdir()
        before = snapshot(tmp_path)
        assert failure(f"folder:{tmp_path}").offenders == (
            f"no image in class folder {tmp_path}/train/empty",
            f"no image in class folder {tmp_path}/valid/void",
            'class "c" is in valid (2 images), but not in train',
            'class "d" is in valid (1 images), but not in train',
            'class "e" is in test (1 images), but not in train',
        )
        assert snapshot(tmp_path) == before

    def test_one_class_and_single_images(self, tmp_path):
        make(tmp_path / "one", "a/1.png", "a/2.png")
        assert failure(f"folder:{tmp_path / 'one'}").offenders == (
            'only one class: "a"; a classifier needs two',
        )
        make(tmp_path / "single", "a/1.png", "a/2.png", "b/1.png", "c/1.png")
        assert failure(f"folder:{tmp_path / 'single'}").offenders == (
            'class "b" has a single image, and the split needs two',
            'class "c" has a single image, and the split needs two',
        )

    @pytest.mark.parametrize("sides", [("",), ("train/", "valid/", "test/")])
    def test_files_of_other_kinds_are_counted(self, tmp_path, sides):
        for side in sides:
            make(tmp_path, *(f"{side}{name}/{i}.jpg" for name in "ab" for i in range(4)))
            make(tmp_path, f"{side}a/layers.PSD", f"{side}b/more/layers.psd", f"{side}b/README")
            make(tmp_path, f"{side}b/.hidden.txt", f"{side}.hidden/1.txt", f"{side}loose.txt")
        dataset = open_dataset(f"folder:{tmp_path}")
        assert dataset.left_out == {".psd": 2 * len(sides), "": len(sides)}
        count = 3 * len(sides)
        assert left_out_in_words(dataset) == (
            f"left out: {count} files without an image's suffix "
            f"({2 * len(sides)} .psd, {len(sides)} without suffix)"
        )

    def test_images_alone_need_no_word(self, tmp_path):
        make(tmp_path, *(f"{name}/{i}.jpg" for name in "ab" for i in range(4)))
        assert left_out_in_words(open_dataset(f"folder:{tmp_path}")) == ""

    def test_many_suffixes_are_told_in_short(self, tmp_path):
        make(tmp_path, *(f"{name}/{i}.jpg" for name in "ab" for i in range(4)))
        make(tmp_path, *(f"a/1.{suffix}" for suffix in "cdefgh"), "a/2.h")
        told = left_out_in_words(open_dataset(f"folder:{tmp_path}"))
        assert told.endswith("(2 .h, 1 .c, 1 .d, 1 .e, 1 .f, 1 of other suffixes)")

    def test_what_no_suffix_looks_like_is_told_in_one_line(self, tmp_path):
        make(tmp_path, *(f"{name}/{i}.jpg" for name in "ab" for i in range(4)))
        make(tmp_path, "a/1.x\nwarning: y", f"a/1.{'z' * 80}", "a/2.txt")
        told = left_out_in_words(open_dataset(f"folder:{tmp_path}"))
        assert told.endswith("3 files without an image's suffix (1 .txt, 2 of other suffixes)")

    def test_a_class_of_other_files_is_empty(self, tmp_path):
        make(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png", "c/1.psd", "c/2.psd")
        assert failure(f"folder:{tmp_path}").offenders == (
            f"no image in class folder {tmp_path}/c; it holds 2 other files",
        )

    def test_nothing_there(self, tmp_path):
        assert "no such folder" in str(failure(f"folder:{tmp_path / 'absent'}"))
        assert f"no class folder in {tmp_path}" in str(failure(f"folder:{tmp_path}"))
        make(tmp_path, "1.png", "2.png")
        assert "but 2 images outside of any class" in str(failure(f"folder:{tmp_path}"))
        assert "no folder" in str(failure(f"folder:{tmp_path / '1.png'}"))

    def test_which_validation_folder(self, tmp_path):
        make(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/b/1.png")
        assert len(failure(f"folder:{tmp_path}").offenders) == 2

    @pytest.mark.parametrize("more", [(), ("valid",), ("val", "validation", "test", "Test")])
    def test_a_side_has_one_folder(self, tmp_path, more):
        names = ("train", "Train", "training", *more)
        make(
            tmp_path, *(f"{name}/{label}/{i}.png" for name in names for label in "ab" for i in "12")
        )
        wanted = {f"which one is meant? {tmp_path / name}" for name in names if name != "valid"}
        assert set(failure(f"folder:{tmp_path}").offenders) == wanted

    def test_other_folders_beside_the_splits(self, tmp_path):
        make(tmp_path, *(f"Train/{label}/{i}.png" for label in "ab" for i in range(5)))
        make(tmp_path, ".hidden/a/1.png", "__MACOSX/a/1.png", "sheet.png")
        (tmp_path / "models").mkdir()
        assert len(open_dataset(f"folder:{tmp_path}").train) == 7
        make(tmp_path, "eval/a/1.png", "cat/1.png")
        assert failure(f"folder:{tmp_path}").offenders == tuple(
            f"{tmp_path / name} is beside Train, but is not a split (known: train, valid, test): "
            "move it away, or into Train"
            for name in ("cat", "eval")
        )
        make(tmp_path, "val/a/1.png", "val/b/1.png")
        assert len(open_dataset(f"folder:{tmp_path}").train) == 10, "both are there by their names"

    def test_a_split_without_train(self, tmp_path):
        make(tmp_path, *(f"{name}/{label}/1.png" for name in ("Val", "test") for label in "ab"))
        make(tmp_path, "cat/1.png", "cat/2.png")
        assert failure(f"folder:{tmp_path}").offenders == tuple(
            f"{tmp_path / name} holds class folders, as a split does: give train/CLASS/... as well"
            for name in ("Val", "test")
        )

    def test_a_class_may_be_called_test_and_have_folders(self, tmp_path):
        make(tmp_path, *(f"{name}/{i}.png" for name in ("test", "paper") for i in range(4)))
        (tmp_path / "test" / "notes").mkdir()
        assert open_dataset(f"folder:{tmp_path}").classes == ("paper", "test")

    def test_splits_of_other_names(self, tmp_path):
        sides = ("training_set", "test_set")
        make(tmp_path, *(f"{name}/{label}/1.png" for name in sides for label in ("cat", "dog")))
        (offender,) = failure(f"folder:{tmp_path}").offenders
        assert "each of test_set, training_set holds the folders cat, dog" in offender
        assert "train/CLASS/file" in offender and "CLASS/file" in offender
        make(tmp_path, "test_set/1.png", "training_set/1.png")
        assert open_dataset(f"folder:{tmp_path}").classes == ("test_set", "training_set")

    @pytest.mark.parametrize(
        "files",
        [
            ("a/images/1.png", "a/images/2.png", "b/images/1.png", "b/images/2.png"),
            ("a/day/1.png", "a/night/1.png", "b/day/1.png", "b/night/1.png"),
        ],
    )
    def test_classes_may_hold_folders(self, tmp_path, files):
        assert open_dataset(f"folder:{make(tmp_path, *files)}").classes == ("a", "b")


class TestCsv:
    def write(self, root: Path, text: str) -> str:
        (root / "table.csv").write_text(text, encoding="utf-8")
        return f"csv:{root / 'table.csv'}"

    def test_given_split(self, tmp_path):
        make(tmp_path, "i/1.png", "i/2.png", "i/3, x.png", "i/4")
        make(tmp_path / "far", "5.png")
        source = self.write(
            tmp_path,
            "\ufeffLabel, file ,split,more\n"
            f'b,i/2.png,train,\na,i/1.png,TRAIN,x\na,"i/3, x.png",val\nb,i/4,valid,\n'
            f"a,{tmp_path}/far/5.png,test,\n",
        )
        dataset = open_dataset(source)
        assert dataset.classes == ("a", "b")
        assert short(dataset, tmp_path, "train") == [("i/2.png", "b"), ("i/1.png", "a")]
        assert short(dataset, tmp_path, "valid") == [("i/3, x.png", "a"), ("i/4", "b")]
        assert short(dataset, tmp_path, "test") == [("far/5.png", "a")]
        assert dataset.valid.read(1)[0, 0, 0] == 3

    def test_names_that_jaxft_defused(self, tmp_path):
        make(tmp_path, "=1.png", "2.png", "-3.png", "4.png")
        rows = [("=1.png", "@a"), ("2.png", "@a"), ("-3.png", "b"), ("4.png", "b")]
        with open(tmp_path / "table.csv", "wb") as file:
            csv_rows.fill(file, ["file", "label"], rows)
        assert b"'=1.png,'@a" in (tmp_path / "table.csv").read_bytes()
        dataset = open_dataset(f"csv:{tmp_path / 'table.csv'}")
        both = short(dataset, tmp_path, "train") + short(dataset, tmp_path, "valid")
        assert sorted(both) == sorted(rows)

    def test_own_split(self, tmp_path):
        make(tmp_path, *(f"{i}.png" for i in range(20)))
        rows = "".join(f"{i}.png,{'xy'[i % 2]}\n" for i in range(20))
        dataset = open_dataset(self.write(tmp_path, "file,label\n" + rows))
        assert np.bincount(dataset.valid.labels).tolist() == [3, 3]
        for split in (dataset.train, dataset.valid):
            assert [int(Path(name).stem) % 2 for name in split.names] == split.labels.tolist()

    def test_all_that_is_wrong_in_one_message(self, tmp_path):
        make(tmp_path, *(f"{number}.png" for number in range(1, 7)))
        source = self.write(
            tmp_path,
            "file,label,split\n1.png,a,train\n2.png,,train\nno.png,b,train\n3.png,b,tran\n"
            ",b,train\n4.png,z,valid\n5.png\n6.png, x,a,train,\n1.png,b,valid\n",
        )
        before = snapshot(tmp_path)
        assert failure(source).offenders == (
            "line 3: empty label",
            f"line 4: no such file: {tmp_path}/no.png",
            'line 5: unknown split "tran" (known: train, valid, test)',
            "line 6: no file named",
            "line 8: empty label",
            'line 8: unknown split "" (known: train, valid, test)',
            "line 9: more cells than the first line",
            'line 9: unknown split "a" (known: train, valid, test)',
            f"line 10: the same file as in line 2: {tmp_path}/1.png",
            'class "z" is in valid (1 images), but not in train',
        )
        assert snapshot(tmp_path) == before

    def test_more_cells_than_the_first_line(self, tmp_path):
        make(tmp_path, "1", "2.png", "3.png")
        source = self.write(tmp_path, "file,label\n1, of a.png,a\n2.png,b\n\n3.png,b,\n")
        assert failure(source).offenders[:2] == (
            "line 2: more cells than the first line",
            "line 5: more cells than the first line",
        )

    def test_a_file_is_named_once_by_whatever_path(self, tmp_path):
        make(tmp_path, "i/1.png", "i/2.png", "i/3.png", "i/4.png")
        (tmp_path / "link.png").symlink_to(tmp_path / "i" / "2.png")
        (tmp_path / "other").symlink_to(tmp_path / "i")
        source = self.write(
            tmp_path,
            f"file,label,split\ni/1.png,a,train\ni/2.png,b,train\ni/../i/1.png,a,valid\n"
            f"link.png,a,test\nother/3.png,b,valid\n{tmp_path}/i/3.png,b,valid\n"
            "i/4.png,a,valid\ni/1.png,b,train\n",
        )
        assert failure(source).offenders == (
            f"line 4: the same file as in line 2: {tmp_path}/i/../i/1.png",
            f"line 5: the same file as in line 3: {tmp_path}/link.png",
            f"line 7: the same file as in line 6: {tmp_path}/i/3.png",
            f"line 9: the same file as in line 2: {tmp_path}/i/1.png",
        )

    def test_columns_are_named_once(self, tmp_path):
        make(tmp_path, "1.png", "2.png", "3.png", "4.png")
        message = failure(self.write(tmp_path, "file,Label,label,FILE,file,,\n1.png,a,b,c,d,,\n"))
        assert message.offenders == ('3 columns "file"', '2 columns "label"')
        missing = failure(self.write(tmp_path, "file,class,class\n1.png,a,a\n"))
        assert len(missing.offenders) == 2
        rows = "".join(f"{i}.png,{'ab'[i % 2]},,\n" for i in range(1, 5))
        assert open_dataset(self.write(tmp_path, "file,label,,\n" + rows)).classes == ("a", "b")

    @pytest.mark.parametrize("name", ["is_valid", "fold", " Subset"])
    def test_a_split_by_another_name_is_not_passed_over(self, tmp_path, name):
        make(tmp_path, "1.png", "2.png")
        table = f"file,label,{name}\n1.png,a,True\n2.png,b,False\n"
        told = failure(self.write(tmp_path, table)).offenders
        assert len(told) == 1 and told[0].startswith(f'column "{name.strip().lower()}": ')

    def test_a_name_that_only_looks_like_a_home(self, tmp_path):
        message = failure(self.write(tmp_path, "file,label\n~nosuchuser/x.png,a\n"))
        assert str(tmp_path / "~nosuchuser/x.png") in str(message)

    def test_missing_columns(self, tmp_path):
        message = str(failure(self.write(tmp_path, "path,class\n1.png,a\n")))
        assert 'no column "file"' in message and 'no column "label"' in message
        assert "path, class" in message
        assert 'no column "file"' in str(failure(self.write(tmp_path, "")))

    def test_no_rows_no_file_no_text(self, tmp_path):
        assert "no rows" in str(failure(self.write(tmp_path, "file,label\n")))
        assert "no such file" in str(failure(f"csv:{tmp_path / 'absent.csv'}"))
        (tmp_path / "table.csv").write_bytes(b"file,label\n\xff\xfe,a\n")
        assert "UTF-8" in str(failure(f"csv:{tmp_path / 'table.csv'}"))


@pytest.mark.parametrize("source", ["", "folder", "folder:", "csv:", "digits:x", "tfdz:a", "/data"])
def test_unknown_source(source):
    error = failure(source)
    assert source in error.title and "folder:PATH" in str(error) and "digits" in str(error)


def test_image_files_for_prediction(tmp_path):
    make(tmp_path, "d/b.png", "d/a/c.jpg", "e.bin")
    given = [str(tmp_path / "e.bin"), str(tmp_path / "d")]
    found = image_files(given)
    assert [os.path.relpath(f, tmp_path) for f in found] == ["e.bin", "d/a/c.jpg", "d/b.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        image_files([str(tmp_path / "empty"), *given, str(tmp_path / "absent")])
    assert len(caught.value.offenders) == 2


def test_identity_changes_with_the_file(tmp_path):
    make(tmp_path, "a.png")
    path = str(tmp_path / "a.png")
    first = files_split([path]).identity
    assert files_split([path]).identity == first
    os.utime(path, ns=(1, 1))
    assert files_split([path]).identity != first
