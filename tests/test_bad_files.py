"""Hostile data and settings files: one sentence, nothing written, in time."""

from __future__ import annotations

import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_cases import NINES, Make, Refused, X, Y, content, link, members, npy, saved
from PIL import Image

pytestmark = pytest.mark.usefixtures("in_time")


def arrays(**changed: Any) -> Make:
    return lambda path: saved(path, **changed)


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
    "negative shape": (
        members(x_train__npy=npy("(-30, -12)")),
        "x_train.npy is float32 [-30, -12]",
    ),
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
    "no rows": (arrays(x_train=X[:0], y_train=Y[:0]), "x_train has shape [0, 12]"),
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
    "names for labels from 1": (
        arrays(y_train=Y + 1, classes=np.array(list("abcd"))),
        "y_train holds 1 in place of 0: number them so, or leave classes out",
    ),
    "names for labels below 0": (
        arrays(y_train=Y - 1, classes=np.array(list("abc"))),
        "y_train holds -1 in place of 0",
    ),
    "too many names for truths": (
        arrays(y_train=Y > 0, classes=np.array(list("abc"))),
        "classes must name the labels 0 to 1 of y_train, one string each, got <U1 [3]",
    ),
    "array without a name": (arrays(**{"": X}), "holds '', which means nothing here"),
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
    "a merge": ("<<: [{seed: 1}, {seed: 2}]", "<< merges keys: write the values out"),
    "a merge below": ("search_protocol: {<<: {epochs: 1}}", "<< merges keys: write the values"),
    "an empty path": ("output: ''", "output is '', expected a path"),
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
