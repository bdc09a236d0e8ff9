"""scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

import hashlib

import numpy as np

from evojax_prune.data.decoding import DECODING
from evojax_prune.data.images import ImageDataset, ImageSplit
from evojax_prune.data.sources.source import IMAGE_OPTIONS, LoadOptions, Source


class Digits(Source):
    """1,797 images of 8 by 8 pixels, ten classes, one split; levels 0 to 16 become 0 to 255."""

    title = "digits"
    reads = IMAGE_OPTIONS

    def claims(self, dataset: str) -> bool:
        """The one name ``digits``."""
        return dataset == "digits"

    def identify(self, dataset: str, options: LoadOptions) -> dict[str, str]:
        """Digest of the one split; the data have never changed."""
        return {"all": hashlib.sha256(f"digits/1/{DECODING}".encode()).hexdigest()}

    def load(self, dataset: str, options: LoadOptions) -> ImageDataset:
        """The images, without names."""
        from sklearn import datasets

        data = datasets.load_digits()
        gray = np.round(data.images * (255 / 16)).astype(np.uint8)
        split = ImageSplit(
            name="all",
            labels=data.target.astype(np.int32),
            identity=self.identify(dataset, options)["all"],
            paths=None,
            items=gray,
            decode=_rgb,
        )
        return ImageDataset("digits", "1", tuple(str(d) for d in range(10)), {"all": split})


def _rgb(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=2)
