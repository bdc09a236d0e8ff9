"""The accelerator benchmark on the CPU: small, and a setting that fails is a row."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from experiments import accelerator, engine_speed

SMALL = ["--rows", "64", "--features", "20", "--hidden", "8", "--active", "4", "--epochs", "2"]
SMALL += ["--selection-rows", "16", "--plain-members", "1"]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@pytest.mark.slow
def test_one_command_prints_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = accelerator.engine

    def too_large(case: accelerator.Case) -> accelerator.Fits:
        if len(case.masks) == 9:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore")
        return engine(case)

    monkeypatch.setattr(accelerator, "engine", too_large)
    file = tmp_path / "out" / "table.csv"
    words = ["--populations", "9", "8", "--modes", "features", "--output", str(file)]
    monkeypatch.setattr("sys.argv", ["engine_speed", "--accelerator", *SMALL, *words])
    engine_speed.main()
    good, bad = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    assert (good["P"], good["form"]) == ("8", "8 xla-primal side by side")
    assert float(good["ratio"]) > 0
    assert float(good["largest loss difference"]) < 1e-5
    assert int(good["programs"]) > 0
    assert good["programs again"] == "0"
    # training once, scores once
    assert good["waits"] == "2"
    assert bad["note"] == "failed: RuntimeError: RESOURCE_EXHAUSTED: Out of memory"
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [len(cells(line)) for line in lines] == [len(accelerator.COLUMNS)] * 4
    assert cells(lines[3])[:3] == ["`features`", "9", bad["note"]]


def test_nothing_begins_that_would_not_end_in_time(tmp_path: Path) -> None:
    options = accelerator.parse([*SMALL, "--seconds", "-1", "--output", str(tmp_path / "a.csv")])
    (row,) = accelerator.measured(options, [accelerator.Setting("both", 4)])
    assert row["note"].startswith("left out: -1 s left")


@pytest.mark.slow
def test_flops_by_xla_are_those_of_the_algorithm() -> None:
    """Where every unit is active nothing is padded, and both counts are of the same products."""
    words = ["--rows", "128", "--features", "256", "--hidden", "64", "--density", "1"]
    options = accelerator.parse([*words, "--epochs", "3"])
    options.splits = engine_speed.make_splits(128, 256)
    case = accelerator.make_case(options, accelerator.Setting("both", 8))
    with accelerator.watched() as watch:
        accelerator.engine(case)
    found = accelerator.by_xla(watch, 128, 32, 3)["XLA flops"]
    assert found == pytest.approx(accelerator.own_work(case)[0], rel=0.15)


@pytest.mark.parametrize(
    ("kind", "flops"),
    [("NVIDIA H100 80GB HBM3", 66.9e12), ("NVIDIA H100 PCIe", 51.2e12), ("cpu", None)],
)
def test_peaks_are_known_by_the_kind_of_device(kind: str, flops: float | None) -> None:
    peaks = accelerator.peaks_of(kind)
    assert (peaks and peaks[0]) == flops
    assert accelerator.bound(peaks, 1e9, 1.0) == ("flops" if peaks else "unknown")
