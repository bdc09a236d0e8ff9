"""What a search optimises."""
