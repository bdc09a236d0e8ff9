"""What the docs site needs beside mkdocs.yml: pages that live elsewhere, and plain docstrings.

The engine's manual and the tables of results stay where readers of the repository look for them;
the site shows them as pages. Links between all of these are written for the repository, so they are
turned into links between pages, or into plain text where the site has no such page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

ELSEWHERE = {ROOT / "evojax_prune" / "engine" / "README.md": "engine.md"} | {
    file: f"results/{file.name}" for file in (ROOT / "experiments" / "results").glob("*.md")
}
"""Pages of the site by the file that they are made from."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live elsewhere."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    here = Path(str(page.file.abs_src_path))
    pages = {Path(str(file.abs_src_path)): file.src_uri for file in files.documentation_pages()}

    def linked(match: re.Match[str]) -> str:
        text, target, anchor = match.groups()
        found = pages.get((here.parent / target).resolve())
        if found is None:
            return text
        folder = os.path.dirname(page.file.src_uri)
        return f"[{text}]({os.path.relpath(found, folder or '.')}{anchor or ''})"

    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)", linked, markdown)


class PlainRoles(griffe.Extension):
    """Sphinx's markup in docstrings as Markdown; a section of one example as one of examples."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """See griffe."""
        if obj.docstring is not None:
            text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", obj.docstring.value)
            text = re.sub(r"``([^`]+)``", r"`\1`", text).replace("::\n", ":\n")
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
