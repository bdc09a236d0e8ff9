"""Which p-norm, and how far: the study of Jeczmionek and Kowalski (2023), on any data and network.

For every line of a sweep a dense head is trained, its units are ranked by local sensitivities under
every p-norm (and by baselines), the lowest are dropped at every reduction level, and every pruned
head is trained again, all heads of a seed as one population.

    python -m evojax_prune sweep configs/sweeps/norms.yaml --plugin experiments/pnorm/method.py
    python -m experiments.pnorm runs/norms
"""
