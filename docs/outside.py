"""Pages of the site that are no Markdown files in docs/: a hook of MkDocs.

README.md is the site's first page; other Markdown files of OUTSIDE are pages, too, and every other
file that a page links to is published as it is. Links stay as a code host wants them, from file to
file in the repository; here they are turned to where the site has these files. A notebook becomes
a page with its outputs.
"""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
OUTSIDE = {  # file -> its page
    "README.md": "index.md",
    "bench/README.md": "measurements.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
NOTEBOOK = "docs/tutorial.ipynb"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files, config):
    """Add the files outside of docs/ that are pages, or that pages link to."""
    pages = [*OUTSIDE, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    linked = {target for page in pages for target in targets(page)}
    for name in sorted({*OUTSIDE, *linked}):
        if not name.startswith(("docs/", "../")) and (ROOT / name).is_file():
            place = str(ROOT / name)
            files.append(File.generated(config, in_site(name), abs_src_path=place))
    page = in_site(NOTEBOOK)
    files.append(File.generated(config, page, content=in_markdown(ROOT / NOTEBOOK)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links between files of the repository to links between files of the site."""
    here = in_repository(page.file.src_uri)

    def turned(match):
        target = in_site(resolved(match[1], here))
        return posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(turned, markdown)


def targets(page):
    """Files that a page links to, from the root of the repository."""
    return {resolved(link, page) for link in LINK.findall((ROOT / page).read_text())}


def resolved(link, page):
    """The file that a link in a page means, from the root of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def in_site(name):
    """The place of a file of the repository in the site."""
    if name == NOTEBOOK:
        name = str(Path(name).with_suffix(".md"))
    return OUTSIDE.get(name, name.removeprefix("docs/"))


def in_repository(uri):
    """The file of the repository behind a page of the site."""
    outside = {page: name for name, page in OUTSIDE.items()}
    return outside.get(uri, f"docs/{uri}")


def in_markdown(notebook):
    """A notebook's cells and their outputs."""
    parts = []
    for cell in json.loads(notebook.read_text())["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else fenced("python", source))
        parts += map(shown, cell.get("outputs", ()))
    return "\n\n".join(parts)


def shown(output):
    """An output of a cell: a picture, or text."""
    data = output.get("data", {"text/plain": output.get("text", ())})
    if "image/png" in data:
        return f"![{''.join(data['text/plain'])}](data:image/png;base64,{data['image/png']})"
    return fenced("text", "".join(data["text/plain"]).strip("\n"))


def fenced(language, text):
    """A block of code."""
    return f"```{language}\n{text}\n```"
