"""Builds the optional CPU kernel; everything else of the package is in pyproject.toml."""

from setuptools import Extension, setup

KERNEL = "evojax_prune/engine/native"

setup(
    ext_modules=[
        Extension(
            "evojax_prune.engine.native._kernel",
            sources=[f"{KERNEL}/kernel.c"],
            depends=[f"{KERNEL}/kernel.h"],
            extra_compile_args=["-O3", "-std=gnu11", "-fno-math-errno", "-march=native"],
            libraries=["m"],
            optional=True,  # without a compiler the package installs, and trains through XLA
        )
    ]
)
