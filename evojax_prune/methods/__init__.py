"""How a mask is found, one file a method."""
