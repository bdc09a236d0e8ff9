"""The fused CPU kernel: trains one compacted head at the speed of one core.

Optional: it is compiled when the package is installed on a machine with a C compiler. Calls
release the GIL, so that one Python thread a core trains one member each.
"""

from evojax_prune.engine.native.library import available, instructions, why_unavailable
from evojax_prune.engine.native.member import MemberState, best, init_state, score, train_epochs
from evojax_prune.engine.native.panels import choose_features

__all__ = [
    "MemberState",
    "available",
    "best",
    "choose_features",
    "init_state",
    "instructions",
    "score",
    "train_epochs",
    "why_unavailable",
]
