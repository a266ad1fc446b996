"""PyTorch checkpoints of others, read without executing anything in them."""
