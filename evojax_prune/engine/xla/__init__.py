"""Compiled programs: SGD of padded members, one per core or side by side on devices."""
