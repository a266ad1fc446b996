"""The `ecgnb` command."""
