"""Finds the compiled kernel and declares its interface (``kernel.h``) to ctypes."""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
from pathlib import Path

ADDRESS = ctypes.c_void_p
"""Of an array's first number. Typed pointers would take longer to make than a small member's step
takes to train; whoever gives an address keeps its array."""

VERSION = 4
"""``EP_VERSION``."""


class NativeLayer(ctypes.Structure):
    """``ep_layer``."""

    _fields_ = (
        ("inputs", ctypes.c_int32),
        ("outputs", ctypes.c_int32),
        ("w", ADDRESS),
        ("v", ADDRESS),
        ("best_w", ADDRESS),
        ("b", ADDRESS),
        ("vb", ADDRESS),
        ("best_b", ADDRESS),
    )


class NativeMember(ctypes.Structure):
    """``ep_member``."""

    _fields_ = (
        ("inputs", ADDRESS),
        ("z0", ADDRESS),
        ("labels", ADDRESS),
        ("order", ADDRESS),
        ("rows", ctypes.c_int32),
        ("epochs", ctypes.c_int32),
        ("n_layers", ctypes.c_int32),
        ("dual", ctypes.c_int32),
        ("learning_rate", ctypes.c_double),
        ("momentum", ctypes.c_double),
        ("decay", ctypes.c_double),
        ("min_delta", ctypes.c_double),
        ("label_smoothing", ctypes.c_double),
        ("class_weights", ADDRESS),
        ("batch_size", ctypes.c_int32),
        ("nesterov", ctypes.c_int32),
        ("patience", ctypes.c_int32),
        ("restore_best", ctypes.c_int32),
        ("layers", ctypes.POINTER(NativeLayer)),
        ("rest", ADDRESS),
        ("drift", ADDRESS),
        ("best_a", ADDRESS),
        ("scale", ctypes.c_double),
        ("step", ctypes.c_int64),
        ("best_loss", ctypes.c_float),
        ("wait", ctypes.c_int32),
        ("stopped", ctypes.c_int32),
        ("epochs_before", ctypes.c_int32),
        ("epochs_run", ctypes.c_int32),
        ("losses", ADDRESS),
    )


class NativeScores(ctypes.Structure):
    """``ep_scores``."""

    _fields_ = (("right", ctypes.c_double), ("cross_entropy", ctypes.c_double))


def load(path: Path) -> ctypes.CDLL:
    """The kernel compiled to ``path``.

    Raises:
        OSError: the file is missing, or built for another machine or from another version.
        AttributeError: the file is something else.
    """
    library = ctypes.CDLL(str(path))
    library.ep_interface.argtypes = []
    library.ep_interface.restype = ctypes.c_int64
    sizes = ctypes.sizeof(NativeLayer) * 1000 + ctypes.sizeof(NativeMember)
    if library.ep_interface() != VERSION * 1_000_000 + sizes:
        raise OSError("it was built from another version of the package; install that again")
    library.ep_train.argtypes = [ctypes.POINTER(NativeMember)]
    library.ep_train.restype = ctypes.c_int
    library.ep_score.argtypes = [ctypes.POINTER(NativeMember), ctypes.POINTER(NativeScores)]
    library.ep_score.restype = ctypes.c_int
    library.ep_floats.argtypes = [ctypes.c_int32, ctypes.c_int32]
    library.ep_floats.restype = ctypes.c_int64
    for function in (library.ep_pack, library.ep_unpack):
        function.argtypes = [ADDRESS, ctypes.c_int32, ctypes.c_int32, ADDRESS]
        function.restype = None
    library.ep_choose.argtypes = [ADDRESS, ADDRESS, ctypes.c_int32, ctypes.c_int32, ADDRESS]
    library.ep_choose.restype = None
    library.ep_instructions.argtypes = []
    library.ep_instructions.restype = ctypes.c_char_p
    return library


@functools.cache
def _find() -> tuple[ctypes.CDLL | None, str]:
    here = Path(__file__).parent
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = here / f"_kernel{suffix}"
        if path.exists():
            try:
                return load(path), ""
            except (OSError, AttributeError) as error:
                return None, f"the compiled kernel {path} cannot be loaded: {error}"
    return None, (
        "the compiled kernel is not there: the package was installed without a C compiler"
        " (gcc or clang); install one, then the package again"
    )


def available() -> bool:
    """Whether the kernel is compiled and runs on this machine."""
    return _find()[0] is not None


def why_unavailable() -> str:
    """One sentence on why the kernel cannot be used; empty when it can."""
    return _find()[1]


def kernel() -> ctypes.CDLL:
    """The compiled kernel.

    Raises:
        RuntimeError: it is not available.
    """
    library, reason = _find()
    if library is None:
        raise RuntimeError(reason)
    return library


def instructions() -> str:
    """The instruction set that the kernel uses on this processor."""
    return str(kernel().ep_instructions().decode())
