"""Training by automatic differentiation and any optax optimizer."""
