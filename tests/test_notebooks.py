"""The notebooks run, and what they have kept is small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra 'notebooks' is not installed")

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

LARGEST = 200_000
"""Bytes of a notebook with its outputs."""


@pytest.fixture(params=NOTEBOOKS, ids=lambda file: file.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_what_is_kept(notebook: Path) -> None:
    read = nbformat.read(notebook, 4)
    nbformat.validate(read)
    cells = [cell for cell in read.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    kinds = {output.output_type for output in outputs}
    assert "stream" in kinds
    assert "display_data" in kinds
    assert "error" not in kinds
    text = notebook.read_text(encoding="utf-8")
    assert len(text) < LARGEST
    assert not {word for word in ("/tmp/", "/root/", "/home/", "/work/") if word in text}


@pytest.mark.slow
def test_it_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first cell to the last, with a small budget, in a folder of its own."""
    nbclient = pytest.importorskip("nbclient", reason="the extra 'notebooks' is not installed")
    pytest.importorskip("ipykernel", reason="the extra 'notebooks' is not installed")
    monkeypatch.setenv("EVOJAX_PRUNE_EVALUATIONS", "24")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent), prepend=os.pathsep)
    for name in ("EVOJAX_PRUNE_ZIP", "EVOJAX_PRUNE_EMBEDDINGS", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    read = nbformat.read(notebook, 4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(read, timeout=900, kernel_name="python3", resources=place).execute()
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "result.json").is_file()
