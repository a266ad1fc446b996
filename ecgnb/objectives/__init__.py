"""What a training optimises."""
