"""Genetic operators on bits: pure functions of a key, batched by whoever calls them.

A parent pair is two indices into the population, children come in pairs ``bool [2, G]``, and
fitness is *minimised* here, as evosax has it.
"""
