"""Which p-norm, and how far: the study of Jeczmionek and Kowalski (2023), on any data and network.

For every backbone, data set and seed a dense head is trained, its units are ranked by local
sensitivities under every p-norm (and by baselines), the lowest are dropped at every reduction
level, and every pruned head is trained again, all heads of a seed as one population.

    python -m experiments.pnorm --datasets hymenoptera --backbones efficientnet-lite0 --seeds 0 1 2
"""
