"""Hostile and mistaken input through the command line: one sentence, nothing written, in time."""

from __future__ import annotations

import logging
import os
import pickle
import re
import signal
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import deploy_cases
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from safetensors import safe_open
from safetensors.numpy import save_file as save_tensors

import evojax_prune
from evojax_prune.cli import main as command
from evojax_prune.cli import progress
from evojax_prune.core.errors import UserError
from evojax_prune.methods import METHODS
from evojax_prune.methods import search as searching
from evojax_prune.objectives import OBJECTIVES
from evojax_prune.report import writers
from evojax_prune.report.result import Result
from evojax_prune.run import data as loading
from evojax_prune.search import Evaluation

SECONDS = 20
"""After which a case hangs; none takes a second on an idle machine."""

SEARCH = (
    *("--hidden", "4", "--search-protocol.epochs", "1", "--final-protocol.epochs", "1"),
    *("--population", "4", "--evaluations", "12", "--finalists", "1", "--objectives", "accuracy"),
)
DENSE = ("--method", "sensitivity", "--keep", "0.5", "--hidden", "8")

LONG = "a" * 300
NUL = "a\0b"
NINES = "9" * 5000


class Hung(BaseException):
    """Not an Exception, so that nothing takes it for a damaged file."""


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    def ring(_: int, __: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


Refused = Callable[..., None]


@pytest.fixture
def refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Refused:
    """Run the command line; see that it says one sentence with these words, and writes nothing."""

    def run(words: list[str], said: str) -> None:
        monkeypatch.chdir(tmp_path)
        before = below(tmp_path)
        status = command.main(words)
        out, err = capsys.readouterr()
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert err.rstrip("\n").isprintable()
        assert len(err) < 2000
        assert said.format(here=tmp_path) in err
        assert below(tmp_path) == before

    return run


def below(folder: Path) -> set[str]:
    return {os.path.join(a, name) for a, b, c in os.walk(folder) for name in (*b, *c)}


def blobs(rows: int = 30, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that 3 of 6 features tell apart without a doubt."""
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 3
    x = rng.normal(size=(rows, 6))
    x[:, :3] += 6 * np.eye(3)[y]
    return (scale * x).astype(np.float32), y


X, Y = blobs()


def saved(path: Path, **changed: Any) -> Path:
    """A features file with some arrays changed; without those that are None."""
    arrays = {"x_train": X, "y_train": Y} | changed
    np.savez(path, allow_pickle=True, **{k: v for k, v in arrays.items() if v is not None})
    return path


# --- words ---------------------------------------------------------------------------------------

T = "--dataset {here}/t.npz "
TESTED = "--dataset {here}/tested.npz "
DEEP = 3000 * "a/"

WORDS: dict[str, str] = {
    "junk": "unknown command junk; valid: predict, export, sweep; a data set is named by",
    "predct RUN": "unknown command predct, did you mean 'predict'?",
    T + "--overwrite maybe": "no flag takes the word maybe; valid: --config",
    "--sedd 1": "unknown flag --sedd, did you mean '--seed'?",
    f"--{LONG} 1": "unknown flag --aaa",
    T + "--seed": "--seed has no value; one that starts with - is written --seed=-...",
    "--config": "--config has no value",
    T + "--output -out": "--output has no value",
    T + "--config a.yaml --config=b.yaml": "--config is given twice, of which only the last",
    T + "--class-shares 0=1 --class_shares 1=1": "--class-shares is given twice",
    T + "--class-shares a=b=0.5": "names the class 'a=b', which t does not have",
    T + "--objectives size": "--objectives size alone would prune all",
    T + "--objectives accuracy ood --ood {here}/./t.npz": "--ood is the data set itself",
    T + "--hidden": "--hidden is given without a value: give one, or drop it",
    T + "--objectives": "--objectives is given without a value",
    T + "--class-shares cat=0.5 cat=0.9": "class_shares has cat twice: give it once",
    T + "--final-protocol.optimizer rprop": "optimizer is rprop, expected one of",
    T
    + "--final-protocol.optimizer adam --final-protocol.momentum 0.5": "momentum does nothing with",
    T + "--search-protocol.optimizer lion --search-protocol.no-nesterov": "only with sgd",
    T + "--plugin": "--plugin is given without a value",
    T + "--compare --compare-fractions": "--compare-fractions is given without a value",
    # numbers
    "--population 99999999999999999999": "population is 99999999999999999999, expected at most",
    "--hidden 100000000000": "hidden is 100000000000, expected at most 65536",
    T + "--hidden" + 100 * " 65536": "parameters, whose training takes 5,103 GB, more than half",
    T + "--hidden" + 101 * " 2": "hidden is 2 2 2 2",
    T + "--hidden 0": "hidden is 0, expected at least 1",
    "--image-size 1000000": "image_size is 1000000, expected at most 4096",
    "--image-size 1": "image_size is 1, expected at least 8",
    f"{T}--seed {NINES}": "(5,000 characters), expected a whole number",
    T + "--seed 1.5": "seed is 1.5, expected a whole number",
    T + "--seed -1": "seed is -1, expected at least 0",
    T + "--seed 4294967296": "seed is 4294967296, expected less than 4294967296",
    T + "--evaluations 10000000000": "evaluations is 10000000000, expected at most 1000000000",
    T + "--folds 1 --selection kfold": "folds is 1, expected at least 2",
    T + "--folds 5000 --selection kfold": "each class needs at least 5001 to cut",
    T + "--member-batch 0": "member_batch is 0, expected at least 1",
    T + "--test-fraction nan": "test_fraction is nan, expected a finite number",
    T + "--test-fraction 1": "test_fraction is 1, expected less than 1",
    T + "--test-fraction 0.999": "too few examples of class '0' (1), '1' (1), '2' (1)",
    T + "--finalists 0": "finalists is 0, expected at least 1",
    T + "--size 0": "size is 0, expected at least 1",
    T + f"--size {10**30}": "expected at most 1099511627776",
    T + "--method sensitivity --keep 2": "keep is 2, expected auto or a fraction above 0",
    T + "--search-protocol.min-delta 1e308": "min_delta is 1e308, expected at most 1000",
    T + "--search-protocol.input-noise 1e38": "input_noise is 1e38, expected at most 1000000",
    T + "--final-protocol.learning-rate inf": "learning_rate is inf, expected a finite number",
    T + "--final-protocol.learning-rate 1e308": "learning_rate is 1e308, expected at most 1e+30",
    T + "--final-protocol.momentum 1": "momentum is 1, expected less than 1",
    T + "--final-protocol.epochs 1000000000": "epochs is 1000000000, expected at most 1000000",
    T + f"--final-protocol.batch-size {10**21}": "expected at most 16777216",
    T + "--final-protocol.optimizer __doc__": "optimizer is __doc__, expected one of adabelief",
    # empty words
    "--dataset ": "an argument is empty",
    T + "--output ": "an argument is empty",
    T + "-- --seed 1": "a lone --",
    # paths
    f"--output {LONG}": "a name in a path has at most 255 bytes",
    f"--output {NUL}": "output is a\\x00b: a path cannot hold a NUL character",
    T + f"--output {DEEP}": "(5,999 characters): a path has at most 4095 bytes",
    T + f"--output {{here}}/{'o' * 250}": "the name is too long: choose a shorter one",
    f"--config {DEEP}c.yaml": "(6,006 characters): a path has at most 4095 bytes",
    f"--dataset {DEEP}x.npz": "(6,005 characters): a path has at most 4095 bytes",
    f"{T}--plugin {DEEP}x.py": "(6,004 characters): a path has at most 4095 bytes",
    f"predict {DEEP} {{here}}/t.npz": "a path has at most 4095 bytes",
    "--output \udcff": "output is \\udcff, which is not UTF-8: rename it",
    "--output ~nobody-of-that-name/x": "there is no such user",
    "--output /": "--output is /, expected a folder below it",
    T + "--output .": "is not empty; give another folder",
    T + "--output {here}/t.npz": "t.npz is a file, expected a folder that is new or empty",
    T + "--output {here}/t.npz/sub": "Not a directory",
    f"--config {LONG}": "--config is aaa",
    f"--config {NUL}": "--config is a\\x00b: a path cannot hold a NUL",
    "--config {here}": "it is a folder, expected a regular file",
    "--config {here}/nowhere.yaml": "cannot read the configuration {here}/nowhere.yaml: No such",
    "--config {here}/pipe": "it is a named pipe, expected a regular file",
    "--config /dev/zero": "it is a device, expected a regular file",
    f"--dataset {LONG}": "dataset is aaa",
    f"--dataset {LONG}.npz": "a name in a path has at most 255 bytes",
    f"--dataset {NUL}.npz": "dataset is a\\x00b.npz: a path cannot hold a NUL",
    "--dataset \udcff": "which is not UTF-8",
    "--dataset ~nobody-of-that-name/x.npz": "there is no such user",
    "--dataset {here}/nowhere.npz": "there is no features file {here}/nowhere.npz: check the path",
    "--dataset /dev/null": "the data set '/dev/null' is not there",
    f"{T}--plugin {NUL}": "--plugin is a\\x00b: a path cannot hold a NUL",
    f"{T}--plugin {LONG}": "--plugin is aaa",
    T + "--plugin {here}": "there is no file of that name",
    T + "--plugin {here}/pipe": "there is no file of that name",
    T + "--plugin {here}/exits.py": "cannot be imported (SystemExit: 3): mend it",
    T + "--plugin {here}/escapes.py": "cannot be imported (GeneratorExit): mend it",
    T + "--plugin {here}/loop": "there is no file of that name",
    f"--dataset digits --backbone-weights {NUL}": "backbone_weights is a\\x00b: a path cannot",
    f"--dataset digits --data-dir {LONG}": "data_dir is aaa",
    "--dataset digits --backbone-weights {here}/pipe": "pipe not found: expected a weights file",
    "--dataset digits --backbone-weights {here}/evil.pth": "asks for posix.system, but only",
    f"{T}--objectives ood --ood {LONG}": "ood is aaa",
    T + "--objectives accuracy ood --ood {here}/nowhere.npz": "there is no features file",
    # what nothing reads
    T + "--backbone nope": "--backbone does nothing with a features file (.npz)",
    T + "--backbone-weights w.h5": "--backbone-weights does nothing with a features file",
    T + "--image-size 64": "--image-size does nothing with a features file",
    T + "--data-dir {here}": "--data-dir does nothing with a features file",
    T + "--extraction-batch 8": "--extraction-batch does nothing with a features file",
    T + "--skip-unreadable": "--skip-unreadable does nothing with a features file",
    T + "--groups (a)": "--groups does nothing with a features file",
    TESTED + "--test-fraction 0.3": "--test-fraction does nothing where a test split is given",
    T + "--folds 3": "--folds does nothing without --selection kfold",
    TESTED + "--selection test --selection-fraction 0.3": "--selection-fraction does nothing",
    T + "--allow-group-overlap": "--allow-group-overlap does nothing without groups",
    T + "--method-options a=1": "--method-options does nothing with --method search",
    T + "--track tensorboard tensorboard": "track is tensorboard tensorboard, expected different",
    T + "--choice knee --objectives accuracy": "--choice does nothing without several",
    T + "--strategy PGPE": "PGPE searches for one objective, and there are 2: choose one",
    # commands
    "predict": "error: RUN missing: see python -m evojax_prune predict --help",
    "export": "error: RUN and --format missing: see",
    "sweep --file {here}/s.yaml": "there is no flag --file: give its value alone",
    "predict {here}/nowhere {here}/t.npz": "there is no folder {here}/nowhere",
    "predict {here} {here}/t.npz": "{here} has no head.safetensors",
    "predict {here}/t.npz {here}/t.npz": "t.npz is not a head that evojax_prune wrote",
    f"predict {LONG} {{here}}/t.npz": "run is aaa",
    f"predict {{here}} {NUL}": "inputs is a\\x00b: a path cannot hold a NUL",
    f"export {LONG} --format onnx": "a name in a path has at most 255 bytes",
    "predict {here} ": "an argument is empty",
    "sweep {here}/s.yaml --by": "--by is given without a value: give one, or drop it",
    "sweep {here}/s.yaml --workers nan": "--workers is nan, expected a whole number",
    "sweep {here}/s.yaml --gpus x": "--gpus is x, expected a number",
    "sweep {here}/s.yaml --gpus 0": "--gpus does nothing without --executor ray or slurm",
    "export {here} --format nope": "unknown format 'nope', expected one of onnx",
}


Make = Callable[[Path], object]


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch evil",)


@pytest.mark.parametrize("words", WORDS, ids=lambda words: ascii(words.replace("{here}/", ""))[:60])
def test_words(words: str, refused: Refused, tmp_path: Path) -> None:
    saved(tmp_path / "t.npz")
    saved(tmp_path / "tested.npz", x_test=X, y_test=Y)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "escapes.py").write_text("raise GeneratorExit\n")
    (tmp_path / "loop").symlink_to("loop")
    with zipfile.ZipFile(tmp_path / "evil.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Evil()))
    refused(words.format(here=tmp_path).split(" "), WORDS[words])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("methods import METHODS as r; r['mine'] = 3", "'mine' in METHODS, which cannot be used"),
        ("methods import METHODS as r; r[3] = r['search']", "3 in METHODS, expected text as a nam"),
        ("objectives import OBJECTIVES as r; r['mine'] = min", "no attribute 'objective'"),
        ("report.writers import WRITERS as r; r['mine'] = ''", "no attribute '__call__'"),
    ],
)
def test_what_plugins_register(line: str, said: str, refused: Refused, tmp_path: Path) -> None:
    registries: list[dict[Any, Any]] = [METHODS, OBJECTIVES, writers.WRITERS]
    before = [dict(registry) for registry in registries]
    (tmp_path / "p.py").write_text(f"from evojax_prune.{line}\n")
    try:
        refused(["--plugin", str(tmp_path / "p.py")], said)
    finally:
        for registry, entries in zip(registries, before, strict=True):
            registry.clear()
            registry.update(entries)


def recarded(run: Path) -> None:
    """A head that says nothing of itself but a list."""
    with safe_open(run / "head.safetensors", "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_tensors(tensors, run / "head.safetensors", {"evojax_prune": "[]"})


def folded(run: Path) -> None:
    """A head beside which lies that of a fold."""
    with safe_open(run / "head.safetensors", "np") as file:
        tensors, metadata = {n: file.get_tensor(n) for n in file.keys()}, file.metadata()  # noqa: SIM118
    tensors |= {f"fold_0.{name}": tensor for name, tensor in tensors.items()}
    save_tensors(tensors, run / "head.safetensors", metadata)


OF_RUNS: dict[str, tuple[Make, str]] = {
    "predict {run} {here}/x.npz --output {run}/head.safetensors": (bool, "is one of the inputs"),
    "predict {run}/head.safetensors {here}/x.npz --output {run}/head.safetensors": (
        bool,
        "the inputs",
    ),
    "export {run} --format safetensors --output {run}/head.safetensors": (
        bool,
        "is one of the inputs",
    ),
    "export {run} --format safetensors --output {run}/notes": (
        lambda run: (run / "notes.md").write_text("mine"),
        "notes.md is there already and is not what this command writes",
    ),
    "export {run} --format safetensors --output {run}/p": (
        lambda run: os.mkfifo(run / "p.md"),
        "p.md is a pipe or a device",
    ),
    "export {run} --format safetensors --output {run}/" + 253 * "m": (bool, "the name is too long"),
    "predict {run} {here}/x.npz": (recarded, "what it says of itself is not a JSON object"),
    "predict {run} {here}/x.npz --output {here}/t": (
        folded,
        "its folds are not all there, or there",
    ),
}


@pytest.mark.parametrize("words", OF_RUNS, ids=lambda words: words.replace("{here}/", "")[:60])
def test_finished_runs(words: str, refused: Refused, tmp_path: Path) -> None:
    make, said = OF_RUNS[words]
    make(deploy_cases.write_run(tmp_path / "run"))
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 20), np.float32))
    refused(words.format(here=tmp_path, run=tmp_path / "run").split(" "), said)


# --- features files ------------------------------------------------------------------------------


def npy(
    shape: str = "(30, 6)", descr: str = "<f4", head: bytes | None = None, version: int = 1
) -> bytes:
    """A member that says of itself what it likes."""
    head = head or f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}".encode()
    head = head + b" " * (-(11 + len(head)) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(head)) + head + bytes(720)


def arrays(**changed: Any) -> Make:
    return lambda path: saved(path, **changed)


def members(**contents: bytes) -> Make:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name.replace("__", "."), content)

    return make


def content(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def link(target: str) -> Make:
    return lambda path: path.symlink_to(target)


def with_byte(local: int, central: int, value: int) -> Make:
    """A good file in which one byte of each member's two heads is changed."""

    def make(path: Path) -> None:
        data = bytearray(saved(path).read_bytes())
        for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
            for found in re.finditer(mark, data):
                data[found.start() + offset] = value
        path.write_bytes(data)

    return make


def cut_short(path: Path) -> None:
    path.write_bytes(saved(path).read_bytes()[:500])


FEATURES: dict[str, tuple[Make, str]] = {
    "declared shape of 1e12": (members(x_train__npy=npy("(1000000000000, 20)")), "its head tells"),
    "declared shape that overflows": (members(x_train__npy=npy(f"({10**20}, 2)")), "head tells"),
    "negative shape": (members(x_train__npy=npy("(-30, -6)")), "x_train.npy is float32 [-30, -6]"),
    "items of 2 GB": (members(x_train__npy=npy(descr="|V2147483647")), "its head tells"),
    "head is code": (members(x_train__npy=npy(head=b"__import__('os')")), "plain arrays"),
    "head is deep": (members(x_train__npy=npy(head=b"(" * 3000)), "plain arrays"),
    "unknown version": (members(x_train__npy=npy(version=9)), "unknown version of NumPy's format"),
    "member without .npy": (members(x_train=b"1", y_train=b"2"), "x_train is not an array"),
    "encrypted": (with_byte(6, 8, 1), "x_train is encrypted"),
    "unknown compression": (with_byte(8, 10, 99), "compression method is not supported"),
    "named pipe": (lambda path: os.mkfifo(path), "it is a named pipe, expected a regular file"),
    "folder": (lambda path: path.mkdir(), "it is a folder, expected a regular file"),
    "device": (link("/dev/zero"), "it is a device, expected a regular file"),
    "link to nothing": (link("nowhere"), "there is no features file"),
    "link to itself": (link("f.npz"), "Too many levels of symbolic links"),
    "empty": (content(b""), "File is not a zip file"),
    "cut short": (cut_short, "File is not a zip file"),
    "one array": (content(npy()), "holds one array, expected several"),
    "objects": (arrays(x_train=np.array([[1, {}]] * 30)), "x_train.npy holds objects"),
    "unknown array": (arrays(z=X), "holds z, which means nothing here"),
    "no labels": (arrays(y_train=None), "y_train missing, beside x_train"),
    "one dimension": (arrays(x_train=X[:, 0]), "x_train has shape [30], expected [rows, features]"),
    "no rows": (arrays(x_train=X[:0], y_train=Y[:0]), "x_train has shape [0, 6]"),
    "complex": (arrays(x_train=X + 1j), "x_train has type complex64, expected numbers"),
    "infinite": (arrays(x_train=np.where(X > 6, np.inf, X)), "hold NaN or infinite numbers"),
    "beyond float32": (arrays(x_train=X.astype(float) * 1e300), "infinite numbers (as float32)"),
    "labels of fractions": (arrays(y_train=Y / 2), "y_train has type float64, expected integers"),
    "too few labels": (arrays(y_train=Y[:7]), "y_train has shape [7], expected [30]: one label"),
    "one label": (arrays(y_train=Y * 0), "y_train holds the one label 0, expected two or more"),
    "a label for each row": (arrays(y_train=np.arange(30)), "too few examples of class '0' (1)"),
    "empty label": (arrays(y_train=np.array(["", "b", "c"])[Y]), "the name of class 0 is empty"),
    "label not UTF-8": (arrays(y_train=np.array([b"\xff", b"b", b"c"])[Y]), "are not UTF-8"),
    "label no text": (arrays(y_train=np.array(["\udcff", "b", "c"])[Y]), "cannot be a class name"),
    "endless label": (arrays(y_train=np.array(["a" * 9999, "b", "c"])[Y]), "at most 1,000 char"),
    "empty class name": (arrays(classes=np.array(["a", "", "c"])), "the name of class 1 is empty"),
    "class name twice": (arrays(classes=np.array(["a", "a", "c"])), "2 classes are named 'a'"),
    "too few class names": (arrays(classes=np.array(["a", "b"])), "must name the labels 0 to 2"),
    "test without labels": (arrays(x_test=X), "y_test missing"),
    "test of other features": (arrays(x_test=X[:, :2], y_test=Y), "x_test has 2 features"),
    "test with a new label": (arrays(x_test=X, y_test=Y + 1), "label 3 of y_test is not in"),
    "one group": (arrays(groups_train=Y * 0), "cannot be cut from 1 groups"),
    "groups of fractions": (arrays(groups_train=Y / 2), "groups_train has type float64"),
}


@pytest.mark.parametrize("case", FEATURES)
def test_features_files(case: str, refused: Refused, tmp_path: Path) -> None:
    make, said = FEATURES[case]
    make(tmp_path / "f.npz")
    refused(["--dataset", str(tmp_path / "f.npz")], said)


# --- settings files ------------------------------------------------------------------------------

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join(['*' + before] * 9)}]\n"
    for before, key in zip("abcdefgh", "bcdefghi", strict=True)
)

SETTINGS: dict[str, tuple[str | bytes, str]] = {
    "nesting of 3,000": ("a: " + "[" * 3000 + "]" * 3000, "nested deeper than 20 levels"),
    "mappings of 3,000": ("{a: " * 3000 + "}" * 3000, "nested deeper than 20 levels"),
    "integer of 5,000 digits": (f"seed: {NINES}", "a number has more than 100 characters"),
    "5,000 digits in base 16": ("seed: 0x" + "f" * 5000, "a number has more than 100 characters"),
    "5,000 digits in base 60": ("seed: 1" + ":1" * 5000, "a number has more than 100 characters"),
    "fraction in base 60": ("margin: 1" + ":1" * 5000 + ".5", "a number has more than 100"),
    "billion laughs": (BOMB, "uses YAML aliases: write the values out"),
    "a mapping in itself": ("&a {seed: *a}", "uses YAML aliases"),
    "many values": ("hidden: [" + "1, " * 20000 + "1]", "has more than 10,000 values"),
    "true for a number": ("seed: true", "seed is true, expected a number"),
    "true in a list": ("hidden: [true]", "hidden is true, expected a number"),
    "true in a protocol": ("search_protocol: {epochs: true}", "epochs is true, expected a number"),
    "a key twice": ("seed: 1\nseed: 2", "the key 'seed' is given twice"),
    "an inner key twice": ("search_protocol: {epochs: 1, epochs: 2}", "'epochs' is given twice"),
    "a list": ("- seed", "holds a list, expected 'key: value' lines"),
    "a word": ("seed", "holds a str, expected 'key: value' lines"),
    "broken": ("seed: [1", "is not valid YAML: while parsing a flow sequence"),
    "a tab": ("a:\n\t- b", "is not valid YAML"),
    "NUL": ("seed: \0", "is not valid YAML: unacceptable character #x0000"),
    "not UTF-8": (b"seed: \xff", "is not valid YAML: 'utf-8' codec"),
    "Python": ("seed: !!python/object/apply:os.system [id]", "uses the YAML tag tag:yaml.org,2002"),
    "empty integer": ("seed: !!int ''", "uses the YAML tag"),
    "a set": ("hidden: !!set {1, 2}", "uses the YAML tag"),
    "no date": ("seed: 2020-13-45", "is not valid YAML: month must be in 1..12"),
    "a date": ("seed: 2020-01-01", "expected a whole number"),
    "a fraction": ("seed: 1.5", "seed is 1.5, expected a whole number"),
    "infinity": ("population: .inf", "population is inf, expected a finite number"),
    "an old octal number": ("seed: 010", "010 is a number in base 8 or 60: write it in base 10"),
    "a number in base 60": ("seed: 1:30", "1:30 is a number in base 8 or 60"),
    "a class that is a number": ("class_shares: {1: 0.5}", "class_shares names 1, which is not te"),
    "nothing": ("seed: null", "seed is None, expected a whole number"),
    "two documents": ("seed: 1\n---\nseed: 2", "expected a single document"),
    "a key that is a list": ("[a]: b", "found unhashable key"),
    "a key that is a number": ("1: 2", "unknown key 1 in"),
    "unknown key": ("sedd: 1", "unknown key 'sedd' in {here}/c.yaml, did you mean 'seed'?"),
    "endless key": ("? " + "k" * 99999 + "\n: 1", "(100,001 characters) in {here}/c.yaml"),
    "a key of control characters": ('"\\e[31m\\n": 1', "unknown key '\\x1b[31m\\n' in"),
    "inner unknown key": ("search_protocol: {epoch: 1}", "c.yaml, search_protocol, did you mean"),
    "a number for a protocol": ("search_protocol: 3", "is 3, expected keys of its own: epochs"),
    "a number for a list": ("hidden: 12", "hidden is 12, expected a list"),
    "a list for a name": ("protocol: [paper]", "protocol is ['paper'], expected one of"),
    "a list for a method": ("method: [search]", "method is ['search'], expected text"),
    "an empty data set": ("dataset: ''", "dataset is '', expected a path"),
    "unknown kind of weights": (
        "final_protocol: {class_weights: heavy}",
        "class_weights is heavy, expected one of 'none' or 'balanced'",
    ),
    "a number for a name": ("dataset: 3", "dataset is 3, expected text"),
    "no objective": ("objectives: []", "objectives is , expected different names"),
    "NUL in a path": ('output: "a\\0b"', "output is a\\x00b: a path cannot hold a NUL"),
    "NUL in a plugin": ('plugin: ["a\\0b"]', "plugin is a\\x00b: a path cannot hold a NUL"),
    "a path that is no text": ('dataset: "\\ud800"', "which is not UTF-8: rename it"),
    "endless path": ("dataset: " + "a" * 99999, "(99,999 characters): a name in a path has at"),
    "endless pattern": ("groups: " + "a" * 5000, "groups is aaa"),
    "a plugin": ("plugin: [evil.py]", "the settings name the plugin evil.py, which is code"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_files(case: str, refused: Refused, tmp_path: Path) -> None:
    text, said = SETTINGS[case]
    file = tmp_path / "c.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(["--config", str(file)], said)


def test_a_settings_file_of_100_mb_is_not_read(refused: Refused, tmp_path: Path) -> None:
    with (file := tmp_path / "c.yaml").open("wb") as sparse:
        sparse.write(b"# comment\n")
        sparse.truncate(100 * 2**20)
    refused(["--config", str(file)], "has more than 1,048,576 bytes, so it is not a settings file")


# --- images --------------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    """The head of an image that claims to be so large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def linked_test(root: Path) -> None:
    train = root / "train"
    train.mkdir()
    for folder in [path for path in root.iterdir() if path != train]:
        folder.rename(train / folder.name)
    (root / "test").symlink_to("train")


def circles(folder: Path) -> None:
    for name in "abc":
        (folder / "cat" / name).symlink_to("..")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n"


def deep(folder: Path) -> None:
    """Folders in folders, until the path is longer than the system takes."""
    here = os.open(folder / "cat", os.O_RDONLY)
    for _ in range(50):
        os.mkdir("d" * 100, dir_fd=here)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def stray(make: Make) -> Make:
    """Something beside the images of a class."""
    return lambda folder: make(folder / "cat" / "x.png")


IMAGES: dict[str, tuple[Make, str, str]] = {
    "named pipe": (stray(os.mkfifo), "", "x.png cannot be read as an image (it is a named pipe"),
    "device": (stray(link("/dev/zero")), "", "(it is a device, expected a regular file)"),
    "link to nothing": (stray(link("nowhere")), "", "(No such file or directory)"),
    "text": (stray(content(b"hello")), "", "(not an image in a format that Pillow knows)"),
    "empty": (stray(content(b"")), "", "(not an image in a format that Pillow knows)"),
    "10 billion pixels": (stray(content(png(10**5, 10**5))), "", "more than 89 million pixels"),
    "150 million pixels": (stray(content(png(15000, 10000))), "", "more than 89 million pixels"),
    "links in circles": (circles, "", "a second time: remove the link"),
    "test is a link": (linked_test, "", "a second time: remove the link"),
    "class without images": (lambda f: (f / "eel").mkdir(), "", "eel holds no images: fill or"),
    "class not UTF-8": (lambda f: (f / "cat").rename(f / "\udcff"), "", "cannot be a class name"),
    "class of a space": (lambda f: (f / "cat").rename(f / " "), "", "name of class 0 is empty"),
    "PostScript": (stray(content(EPS)), "", "(PostScript is a program, save what it draws as PNG)"),
    "folders without end": (deep, "", "(4,1"),
    "broken pattern": (bool, "--groups (", "'(' is not a regular expression: missing )"),
    "huge repetition": (bool, "--groups a{99999999999}", "the repetition number is too large"),
    "pattern without match": (bool, "--groups zz", "'zz' matches none of 6 image paths"),
    "data_dir": (bool, "--data-dir /", "--data-dir does nothing with an image folder"),
    "unknown backbone": (bool, "--backbone resnet51", "unknown backbone"),
    "output": (bool, "--output images/out", "--output is images/out, inside the data"),
    "output by link": (lambda f: (f.parent / "l").symlink_to(f), "--output l/a/b", "inside the da"),
    "output is the data": (bool, "--output images --overwrite", "--output is images, inside the"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_image_folders(case: str, refused: Refused, tmp_path: Path) -> None:
    make, more, said = IMAGES[case]
    for kind in ("cat", "dog"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "images" / kind / f"{i}.png")
    make(tmp_path / "images")
    refused(["--dataset", str(tmp_path / "images"), *more.split()], said)


# --- what stands in the way of the results -------------------------------------------------------


def put(name: str, make: Make) -> Make:
    def at(here: Path) -> None:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        make(here / name)

    return at


STATE = "run.partial/state"

OBSTACLES: dict[str, tuple[Make, str]] = {
    "output is a link to nothing": (put("run", link("nowhere")), "a link that leads nowhere"),
    "output is a link to itself": (put("run", link("run")), "a link that leads nowhere"),
    "output is a pipe": (put("run", os.mkfifo), "run is a file, expected a folder"),
    "a file for the state": (put("run.partial", content(b"")), "partial is a file, but an unfin"),
    "a link for the state": (put("run.partial", link("nowhere")), "is a link that leads nowhere"),
    "a file for a folder": (
        put(STATE, content(b"")),
        "cannot make the folder {here}/run.partial/s",
    ),
    "a link for the state of the search": (
        put(STATE, link("../..")),
        "state is a link, but an unfinished run is kept in a folder of that name",
    ),
    "a link for the unfinished run": (put("run.partial", link(".")), "run.partial is a link, but"),
    "a folder for the lock": (put(f"{STATE}/lock", Path.mkdir), "cannot lock {here}/run.partial"),
    "a folder for the journal": (put(f"{STATE}/journal.jsonl", Path.mkdir), "cannot discard what"),
    "a folder for the report": (
        put("run/report.html", Path.mkdir),
        "{here}/run/report.html is a folder, but a file of that name is to be written",
    ),
    "a folder for the settings": (
        put("run.partial/config.yaml", Path.mkdir),
        "cannot write {here}",
    ),
}


@pytest.mark.parametrize("case", OBSTACLES)
def test_obstacles(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, said = OBSTACLES[case]
    make(tmp_path)
    words = ["--dataset", str(saved(tmp_path / "t.npz")), "--output", str(tmp_path / "run")]
    assert command.main([*words, *DENSE, "--overwrite"]) == 2
    err = capsys.readouterr().err
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said.format(here=tmp_path) in last
    assert "to go on" not in err
    assert not (tmp_path / "run" / "result.json").exists()


def test_settings_of_an_unfinished_run_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    put("run.partial/config.yaml", content(b"\xff"))(tmp_path)
    pruned(tmp_path, *DENSE, "--overwrite")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("std::bad_alloc"), "the memory that this process may use is too small"),
        (ImportError("x.so: failed to map segment from shared object"), "the memory that this"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "the device's memory is used up"),
        (RuntimeError("INVALID_ARGUMENT: Disallowed host-to-device"), "unset JAX_TRANSFER_GUARD"),
    ],
)
def test_what_the_machine_refuses(
    error: Exception, said: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(command, "run", fail)
    refused(["--dataset", "digits"], said)


def test_features_that_a_run_has_no_memory_for(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "total_memory", lambda: 8.0 * X.nbytes - 1)
    words = ["--dataset", str(saved(tmp_path / "t.npz")), "--hidden", "1"]
    refused(words, "a run on the features of t takes 0 GB, more than this machine's memory")


def test_the_table_is_long() -> None:
    assert sum(map(len, (WORDS, OF_RUNS, FEATURES, SETTINGS, IMAGES, OBSTACLES))) >= 120


# --- odd input that has an answer ----------------------------------------------------------------


def pruned(here: Path, *words: str, **changed: Any) -> Result:
    """Prune a small table; its result."""
    file, output = saved(here / "t.npz", **changed), here / "run"
    assert command.main(["--dataset", str(file), "--output", str(output), *words]) == 0
    return Result.model_validate_json((output / "result.json").read_text())


def test_one_feature_has_a_sensitivity(tmp_path: Path) -> None:
    x = Y[:, None].astype(np.float32)
    best = pruned(tmp_path, *DENSE, "--final-protocol.learning-rate", "0.1", x_train=x).best
    assert best.active_units == best.active_fraction == 1
    assert best.test_accuracy == 1


def test_a_dense_head_that_diverges_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", str(saved(tmp_path / "t.npz")), "--output", str(tmp_path / "run"), *DENSE]
    assert command.main([*words, "--final-protocol.learning-rate", "1e30"]) == 2
    assert "diverged: lower --final-protocol.learning-rate" in capsys.readouterr().err


def test_names_are_neither_markup_nor_formulas(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, output = saved(tmp_path / "[red]$\\frac$:x:.npz"), tmp_path / "run"
    assert command.main(["--dataset", str(file), "--output", str(output), *DENSE]) == 0
    assert "[red]$\\frac$:x:, mode features" in capsys.readouterr().out


def test_control_characters_in_notices_are_made_visible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = progress.show_notices(Console(stderr=True, width=80))
    with said:
        logging.getLogger("evojax_prune").warning("left out: %s", "a\x1b[2Jb\n\udcff")
    assert capsys.readouterr().err == "note: left out: a\\x1b[2Jb\\n\\udcff\n"


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_features_of_any_scale_are_told_apart(scale: float, tmp_path: Path) -> None:
    """Three features on one scale, the others on that of the noise, and constant ones."""
    x, y = blobs(90)
    x[:, :3] *= scale
    constant = np.full((90, 2), [0, 7], np.float32)
    result = pruned(
        tmp_path,
        *(*DENSE, "--hidden", "32", "--final-protocol.learning-rate", "0.05"),
        x_train=np.concatenate([x, constant], axis=1),
        y_train=y,
    )
    assert result.dense.test_accuracy == result.best.test_accuracy == 1


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_features_that_are_not_scaled_and_should_be_are_told(
    scale: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = blobs(60, scale)
    pruned(tmp_path, *DENSE, "--scale", "none", x_train=x, y_train=y)
    said = "note: the features are not scaled, and the largest standard deviation of one is"
    assert (said in capsys.readouterr().err) == (scale != 1)


def test_class_weights_lift_the_rare_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(600) % 20 == 0).astype(int)
    x = rng.normal(size=(600, 4)).astype(np.float32)
    x[:, 0] += 2 * y
    words = (*DENSE, "--overwrite", "--final-protocol.class-weights")
    plain, weighted = (
        pruned(tmp_path, *words, kind, x_train=x, y_train=y).metrics["dense"]
        for kind in ("none", "balanced")
    )
    assert "balanced" in capsys.readouterr().out  # a column of the table
    assert weighted.balanced_accuracy > plain.balanced_accuracy + 0.1
    assert plain.confusion[0][0] > weighted.confusion[0][0]


def test_a_rare_class_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = blobs(129)
    y[:] = np.arange(129) >= 6
    pruned(tmp_path, *DENSE, x_train=x, y_train=y)
    said = "note: 123 rows are of class '1' and 6 of '0': accuracy says little about small classes"
    assert said in capsys.readouterr().err
    x, y = blobs(126)
    y[:] = np.arange(126) >= 6
    pruned(tmp_path, *DENSE, "--overwrite", x_train=x, y_train=y)
    assert "accuracy says little" not in capsys.readouterr().err


def test_the_head_may_be_read_by_whom_the_other_files_may(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        pruned(tmp_path, *DENSE)
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "run").iterdir()}
    assert set(modes.values()) == {0o640}
    assert "head.safetensors" in modes


def test_hostile_features_are_not_predicted(
    refused: Refused, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pruned(tmp_path, *DENSE)
    capsys.readouterr()
    for number, (make, said) in enumerate(
        [
            (members(x__npy=npy("(1000000000000, 6)")), "its head tells"),
            (os.mkfifo, "it is a named pipe, expected a regular file"),
            (content(b"hello"), "File is not a zip file"),
            (link("/dev/zero"), "it is a device, expected a regular file"),
            (members(z__npy=npy()), "has no features, expected them as x or x_test"),
        ]
    ):
        make(file := tmp_path / f"{number}.npz")
        refused(["predict", str(tmp_path / "run"), str(file)], said)


def test_results_go_into_regular_files_only(
    refused: Refused, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is moved to the place of a pipe or a device would replace it."""
    pruned(tmp_path, *DENSE)
    capsys.readouterr()
    rows = saved(tmp_path / "rows.npz", x_train=None, y_train=None, x=X)
    os.mkfifo(tmp_path / "pipe")
    run = str(tmp_path / "run")
    for place in (tmp_path / "pipe", "/dev/null"):
        for words in (["predict", run, str(rows)], ["export", run, "--format", "safetensors"]):
            refused([*words, "--output", str(place)], "is a pipe or a device, expected a regular")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


X_MASKED, Y_MASKED = np.ma.masked_greater(X, 6), np.ma.masked_equal(Y, 1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda _: evojax_prune.prune(X_MASKED, Y), "x has masked values: fill them"),
        (lambda _: evojax_prune.prune(X, Y_MASKED), "y has masked values: fill them"),
        (lambda _: evojax_prune.prune(X, Y, groups=Y_MASKED), "groups has masked values"),
        (lambda _: evojax_prune.prune([[10**400] * 6] * 30, Y), "x cannot be made an array .int"),
        (lambda _: evojax_prune.prune(X, Y, sead=1), "unknown setting sead, did you mean 'seed'"),
        (lambda _: evojax_prune.prune(X, Y, hidden=10**11), "at most 65536$|expected a list"),
        (lambda _: evojax_prune.load(None), "run is None, expected a path"),
        (lambda _: evojax_prune.load(3), "run is 3, expected a path"),
        (lambda _: evojax_prune.load(""), "run is '', expected a path"),
        (lambda _: evojax_prune.load("a\0b"), "a path cannot hold a NUL"),
        (lambda _: evojax_prune.load_splits(3), "config is 3, expected a path"),
        (lambda _: evojax_prune.prune(X, Y, observer=3), "observer is a int, expected an Observer"),
        (lambda _: evojax_prune.prune("digits"), "prune is given 'digits', expected features and"),
        (lambda _: evojax_prune.prune(X, Y, mode="fc1", hidden=[3]), "^hidden does not suit: mode"),
        (lambda _: evojax_prune.extract_features(None), "images are NoneType, expected uint8"),
        (
            lambda run: evojax_prune.load(run).predict(None),
            "inputs of type NoneType cannot be used, expected paths",
        ),
    ],
)
def test_what_python_gives(call: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    deploy_cases.write_run(tmp_path / "run")
    with pytest.raises(UserError, match=said):
        call(tmp_path / "run")


def test_a_writer_that_fails_holds_back_none_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no\nfont")

    monkeypatch.setitem(writers.WRITERS, "convergence.png", fail)
    file, output = saved(tmp_path / "t.npz"), tmp_path / "run"
    assert command.main(["--dataset", str(file), "--output", str(output), *DENSE]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: the results are in {output}, but not all of them: ")
    assert "convergence.png could not be made (RuntimeError: no font)" in last
    names = {file.name for file in output.iterdir()}
    assert names == {*writers.ESSENTIAL, *writers.WRITERS} - {"convergence.png"}
    monkeypatch.undo()
    assert command.main(["--dataset", str(file), "--output", str(output), *DENSE]) == 0
    assert (output / "convergence.png").exists()
    assert not (tmp_path / "run.partial").exists()


def test_a_generation_of_which_all_diverge_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Diverging(searching.Evaluator):
        calls = 0

        def __call__(self, genomes: np.ndarray, occasion: int | None = None) -> Evaluation:
            found = super().__call__(genomes, occasion)
            Diverging.calls += 1
            if Diverging.calls == 3:  # after the dense head and the first generation
                found.values[:] = np.nan
            return found

    monkeypatch.setattr(searching, "Evaluator", Diverging)
    result = pruned(tmp_path, *SEARCH, "--strategy", "generational", "--selection", "holdout")
    assert Diverging.calls > 3
    assert np.isfinite(result.search.best_fitness)
    written = {file.name for file in (tmp_path / "run").iterdir()}
    assert written == {*writers.ESSENTIAL, *writers.WRITERS}


def test_a_current_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for words in (["--dataset", "digits"], ["sweep", str(tmp_path / "sweep.yaml")]):
        assert command.main(words) == 2
        assert "the current folder is gone: change to one" in capsys.readouterr().err
