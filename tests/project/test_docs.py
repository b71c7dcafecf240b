"""The pages: their Python compiles, their commands parse, their links, names and keys exist."""

import ast
import json
import pkgutil
import re
import shlex
from pathlib import Path
from typing import Any

import house
import pytest
from ml_collections import ConfigDict
from ml_collections.config_flags import config_path
from places import ROOT

from jaxft.cli import from_run, main
from jaxft.cli.config_file import load_config
from jaxft.cli.overrides import numbered
from jaxft.config import load
from jaxft.configs import base
from jaxft.errors import UserError

README = ROOT / "README.md"
TABLES = ROOT / "bench" / "README.md"
TOLD = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/**/*.md"))]
LINKING = [*TOLD, TABLES, ROOT / "CHANGELOG.md"]
SHELL = ("console", "sh")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
SECTIONS = [key for key, value in base.get_config().items() if isinstance(value, ConfigDict)]
KEY = re.compile(rf"(?:config\.)?((?:{'|'.join(SECTIONS)})\.\w+)(?:=.*)?")
PHASE_KEY = re.compile(r"phase\.(\w+)(?:=.*)?")
OVERRIDE = re.compile(r"--config\.(\w+(?:\.\w+|\[\d+\])*)")
TESTS = {file.name for file in ROOT.glob("tests/**/test_*.py")}
FILE_SUFFIXES = (".json", ".csv", ".safetensors", ".jax_exported")  # model.json is no key
FILE = re.compile(r"(?:jaxft|tests|bench|configs|docs)/[\w/]+\.\w+")


def on(pages):
    """A test of each page by itself."""
    names = [str(page.relative_to(ROOT)) for page in pages]
    return pytest.mark.parametrize("page", pages, ids=names)


def fenced(page, *kinds):
    return [text for kind, text in FENCED.findall(page.read_text()) if kind in kinds]


def prose(page):
    """A page without its fenced blocks."""
    return FENCED.sub("", page.read_text())


def inline(page):
    return INLINE.findall(prose(page))


def exists(name):
    """Tell whether a dotted name is a module, or something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


# Python.


def imports(source):
    """Local name -> dotted name, of what a source imports from jaxft."""
    bound: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {alias.asname or alias.name: alias.name for alias in node.names}
            names = {local: f"{node.module}.{name}" for local, name in names.items()}
        else:
            continue
        bound |= {local: name for local, name in names.items() if name.split(".")[0] == "jaxft"}
    return bound


def used(source):
    """Dotted names of jaxft's that a source imports, and their attributes that it takes."""
    bound = imports(source)
    attributes = [
        f"{bound[node.value.id]}.{node.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in bound
    ]
    return sorted({*bound.values(), *attributes})


def test_names_of_a_source():
    source = "from jaxft.recipe import schedules as s\nimport jax, jaxft\njaxft.train(s.sgdr)\n"
    schedules = "jaxft.recipe.schedules"
    assert used(source) == ["jaxft", schedules, f"{schedules}.sgdr", "jaxft.train"]


@on([page for page in TOLD if fenced(page, "python")])
def test_python_compiles_and_what_it_imports_is_there(page):
    for source in fenced(page, "python"):
        compile(source, str(page), "exec")
        assert [name for name in used(source) if not exists(name)] == []


@on([page for page in TOLD if any("def get_config" in text for text in fenced(page, "python"))])
def test_a_card_in_a_page_is_a_right_config(page):
    for source in fenced(page, "python"):
        if "def get_config" in source:
            names: dict[str, Any] = {}
            exec(source, names)
            assert load.read(names["get_config"]()).phases[-1].trains_body


@on(TOLD)
def test_names_and_files_in_a_page_are_there(page):
    names = [text for text in inline(page) if re.fullmatch(r"jaxft(\.\w+)+", text)]
    names += re.findall(r"^::: (\S+)$", page.read_text(), re.M)
    assert [name for name in names if not exists(name)] == []
    files = [text for text in inline(page) if FILE.fullmatch(text)]
    assert [file for file in files if not (ROOT / file).exists()] == []
    tests = [text for text in inline(page) if re.fullmatch(r"test_\w+\.py", text)]
    assert [test for test in tests if test not in TESTS] == []


# Commands.


def commands(text):
    """The words of each command of a shell's text, those of quoted scripts among them."""
    pending, found = "", []
    for line in text.replace("\\\n", " ").splitlines():
        pending += line + "\n"
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # a quotation that goes on
            continue
        pending = ""
        found.append(words)
        found += [inner for word in words if "\n" in word for inner in commands(word)]
    return found


def jaxft_arguments(words):
    """Arguments after `jaxft` in a command; None if it is another command."""
    for index, word in enumerate(words):
        if Path(word).name == "jaxft" and words[index + 1 : index + 2]:
            return words[index + 1 :]
    return None


def refusal(arguments):
    """Reason for which the command line would refuse these arguments, or None; nothing runs."""
    try:
        options = main.read(arguments)
        if getattr(options, "config", None) is not None:
            load.read(options.config)
    except SystemExit as stop:
        return "no such flags" if stop.code else None
    except UserError as error:
        return str(error)
    return None


def test_commands_of_a_script():
    text = "A=1 jaxft train \\\n  --x='a b'  # all\nssh --command='\n  .venv/bin/jaxft predict'\n"
    found = [arguments for words in commands(text) if (arguments := jaxft_arguments(words))]
    assert found == [["train", "--x=a b"], ["predict"]]
    assert refusal(["train", "--config=folder", "--workdir=x"]) is None
    assert refusal(["train", "--config=folder"]) == "no such flags"
    assert refusal(["train", "--config=folder", "--workdir=x", "--config.sead=1"]) is not None


@on([page for page in TOLD if any("jaxft " in text for text in fenced(page, *SHELL))])
def test_commands_parse(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(from_run, "of_run", lambda _: load_config("quickstart"))
    for text in fenced(page, *SHELL):
        for words in commands(text):
            if arguments := jaxft_arguments(words):
                assert refusal(arguments) is None, shlex.join(arguments)


@on(TOLD)
def test_what_a_shell_takes_for_a_pattern_is_quoted(page):
    """Unquoted, zsh takes `[2]` and `?` for patterns of file names."""
    told = [text for text in inline(page) if re.match(r"\W?--config|pip ", text)]
    plain = [re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "", text) for text in told + fenced(page, *SHELL)]
    lines = [line for text in plain for line in text.splitlines()]
    assert [line for line in lines if re.search(r"[\[?]", line)] == []


def strings(file):
    """Every string constant of a source, parts of f-strings too."""
    nodes = ast.walk(ast.parse(file.read_text()))
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def test_flags_in_messages_and_help_need_no_quotes():
    files = [*ROOT.glob("jaxft/**/*.py"), *ROOT.glob("configs/*.py")]
    texts = [(file.name, text) for file in files for text in strings(file)]
    assert sum("--config." in text for _, text in texts) > 10
    assert [pair for pair in texts if re.search(r"--config\.[\w.]*[\[?]", pair[1])] == []
    helps = [parser.format_help() for parser in main.parsers().values()]
    assert [text for text in helps if re.search(r"--config\S*[\[?]", text)] == []


# Keys.


def has_key(key):
    """Tell whether base.py has a key; of phases, whether a phase has it."""
    try:
        config_path.get_value(numbered(base.get_config(), key)[0], base.get_config())
    except (KeyError, IndexError, AttributeError):
        return False
    return True


@on(TOLD)
def test_config_keys_exist(page):
    keys = OVERRIDE.findall(page.read_text())
    keys += [match[1] for text in inline(page) if (match := KEY.fullmatch(text))]
    keys += [f"phases[0].{m[1]}" for text in inline(page) if (m := PHASE_KEY.fullmatch(text))]
    keys = [key for key in keys if not key.endswith(FILE_SUFFIXES)]
    assert [key for key in keys if not has_key(key)] == []


# Links.


def anchors(page):
    """The anchors of a page's headings, as code hosts and the site make them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.M)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in plain}


@on(LINKING)
def test_links_lead_somewhere(page):
    missing = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


# README.md.


def test_the_readme_is_short_and_begins_with_two_commands():
    lines = README.read_text().splitlines()
    assert len(lines) <= 150
    (block, *_) = fenced(README, "console")
    assert [words[:2] for words in commands(block)] == [["make", "quickstart"], ["make", "test"]]
    assert lines.index("```console") < 15


def tables(page):
    """Each table of tasks of a page: the cells of its rows, bold ones plain."""
    found = re.findall(r"^\| task \|.*?(?=\n\n)", page.read_text().replace("**", ""), re.M | re.S)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        for table in found
    ]


def test_the_readme_tells_the_newest_figures_beside_fastai():
    names = ("task", "end", "fastai", "logistic regression")
    head, _, *newest = next(table for table in tables(TABLES) if {*names} <= {*table[0]})
    measured = [[row[head.index(name)] for name in names] for row in newest]
    _, _, *lines = tables(README)[0]
    told = [row[start : start + 4] for row in lines for start in (0, 4)]
    assert sorted(told) == sorted(measured)
    assert len(told) == 14


def medians():
    """Images a second of each program on the H100, by (side, what, lowering), as measured."""
    lines = map(
        json.loads, (ROOT / "bench/measured/h100_2026_11_27.jsonl").read_text().split("\n")[:-1]
    )
    return {
        (line["piece"], line["what"], line.get("lowering")): round(line["images_per_second"])
        for line in lines
        if line["piece"] == "bench" or "torch" in line.get("versions", ())
        if "images_per_second" in line
    }


def test_the_readme_tells_what_the_h100_measured():
    found = medians()
    section = README.read_text().replace("**", "").partition("## On an H100")[2]
    rows = re.findall(
        r"^\| \w.* \| ([\d,]+) \| ([\d,]+) \(([\d.]+)x\) \| ([\d,]+) \(([\d.]+)x\)", section, re.M
    )
    told = [[float(cell.replace(",", "")) for cell in row] for row in rows]
    of_torch = [("forward", "features"), ("head", "head_augmented"), ("train", "full")]
    for row, (torch, own) in zip(told, of_torch, strict=True):
        best = [
            max(found.get((piece, torch, way), 0) for piece in ("peer", "fused"))
            for way in ("torch.compile", "eager")
        ]
        ours = found["bench", own, None]
        ratios = [round(ours / peer, 2) for peer in best]
        assert row == [ours, best[0], ratios[0], best[1], ratios[1]]


def test_the_design_lists_the_rooms_from_the_ground_up():
    text = (ROOT / "docs" / "design.md").read_text()
    section = text.partition("## The rooms")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^- `(\w+)`:", section, re.M)) == house.FLOORS


def walks():
    """The files that each walk of the design passes."""
    section = (ROOT / "docs" / "design.md").read_text().partition("### Four walks")[2]
    items = section.partition("\n## ")[0].split("\n- ")[1:]
    return [re.findall(r"`([\w/]+\.py)`", item) for item in items]


def test_the_walks_pass_files_that_are_there_and_none_twice():
    assert len(walks()) == 4
    for files in walks():
        homes = [ROOT if file.startswith("configs/") else ROOT / "jaxft" for file in files]
        assert all((home / file).is_file() for home, file in zip(homes, files, strict=True)), files
        assert len(files) == len(set(files)), files
