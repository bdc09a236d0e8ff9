"""What the paper's experiments share: runs that are kept, one command line, tables, pictures."""
