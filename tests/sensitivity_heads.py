"""Small heads, patterns for them, and their Jacobians in closed form."""

import numpy as np

from evojax_prune.core.head import HeadSpec, init_params

SPEC = HeadSpec(11, (7, 5), 4, (True, False, True))


def head_params(spec=SPEC, seed=0):
    """Glorot kernels, and biases that are not 0; writable."""
    layers = init_params(spec, seed).items()
    params = {name: {k: leaf.copy() for k, leaf in layer.items()} for name, layer in layers}
    rng = np.random.default_rng(seed)
    for layer in params.values():
        if "bias" in layer:
            layer["bias"] = rng.normal(0, 0.3, layer["bias"].shape).astype(np.float32)
    return params


def patterns(n, spec=SPEC, seed=1):
    return np.random.default_rng(seed).normal(size=(n, spec.features)).astype(np.float32)


def closed_form(params, units, layer, of):
    """Products of the weight matrices with the ReLUs' switches between them, in NumPy float64."""
    depth = len(params)
    kernels = [np.asarray(params[f"layer_{i}"]["kernel"], np.float64) for i in range(depth)]
    biases = [np.asarray(params[f"layer_{i}"].get("bias", 0.0), np.float64) for i in range(depth)]
    result = []
    for a in np.asarray(units, np.float64):
        product = np.eye(len(a))
        for i in range(layer, depth):
            a = a @ kernels[i] + biases[i]
            product = product @ kernels[i]
            if i < depth - 1:
                product = product * (a > 0)
                a = np.maximum(a, 0)
        if of == "probabilities":
            q = np.exp(a - a.max())
            q /= q.sum()
            product = product @ (np.diag(q) - np.outer(q, q))
        result.append(product.T)
    return np.stack(result)
