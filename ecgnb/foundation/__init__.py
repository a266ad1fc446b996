"""Foundation models of others: their checkpoints, their recipes, their labels."""
