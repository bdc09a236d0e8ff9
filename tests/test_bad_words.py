"""Mistaken words on the command line: one sentence, nothing written, in time."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import deploy_cases
import numpy as np
import pytest
from hostile_cases import NINES, Make, Refused, X, Y, saved
from plugin_cases import own_registries
from safetensors import safe_open
from safetensors.numpy import save_file as save_tensors

pytestmark = pytest.mark.usefixtures("in_time")

LONG = "a" * 300
NUL = "a\0b"


T = "--dataset {here}/t.npz "
TESTED = "--dataset {here}/tested.npz "
DEEP = 3000 * "a/"


WORDS: dict[str, str] = {
    "junk": "unknown command junk; valid: predict, export, sweep; a data set is named by",
    "predct RUN": "unknown command predct, did you mean 'predict'?",
    T + "--overwrite maybe": "no flag takes the word maybe; valid: --config",
    T + "--final-protocol.epoch 3": "unknown flag --final-protocol.epoch, did you mean '--final-"
    "protocol.epochs'? valid: --config",
    T + "--final-protocol 3": "unknown flag --final-protocol, did you mean '--final-protocol.",
    "--tyro-print-completion junk": "unknown flag --tyro-print-completion: see python -m",
    "--tyro_write_completion fish c": "unknown flag --tyro_write_completion: see python -m",
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
    T + "--plugin {here}/t.npz": "t.npz, expected a Python file, FILE.py",
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
    (tmp_path / "p.py").write_text(f"from evojax_prune.{line}\n")
    with own_registries():
        refused(["--plugin", str(tmp_path / "p.py")], said)


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
