"""A run from the problem to the result."""
