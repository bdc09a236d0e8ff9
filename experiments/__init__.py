"""Measurements and studies that are no part of the package."""
