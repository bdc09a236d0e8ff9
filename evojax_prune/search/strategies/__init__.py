"""Search strategies behind evosax's ask and tell."""
