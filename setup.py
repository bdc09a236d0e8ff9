"""Builds the optional CPU kernel; everything else of the package is in pyproject.toml."""

from __future__ import annotations

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = "evojax_prune/engine/native"
SOURCES = ("kernel", "variant_generic", "variant_avx2", "variant_avx512")
HEADERS = ("first", "kernel", "kernels", "layers", "narrow", "panels", "session", "train", "vector")


class BuildKernel(build_ext):
    """Builds a plain shared library: ctypes loads it, so it needs no Python.h."""

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """No ``PyInit`` function, which is asked for by default."""
        return ext.export_symbols


setup(
    cmdclass={"build_ext": BuildKernel},
    ext_modules=[
        Extension(
            "evojax_prune.engine.native._kernel",
            sources=[f"{FOLDER}/{name}.c" for name in SOURCES],
            depends=[f"{FOLDER}/{name}.h" for name in HEADERS],
            # Each variant names its own instruction set, so the library runs on any processor.
            # Value-changing flags stay out: a NaN must stay a NaN.
            extra_compile_args=["-O3", "-std=gnu11", "-fno-math-errno", "-ffp-contract=fast"],
            libraries=["m"],
            optional=True,  # without a compiler the package installs, and trains through XLA
        )
    ],
)
