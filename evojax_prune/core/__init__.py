"""What a pruned head is: mode, head, masks, protocol, splits, outcome."""
