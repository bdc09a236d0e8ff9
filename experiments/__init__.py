"""Measurements and studies that are not part of the package."""
