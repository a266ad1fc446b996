"""The signal store: writing it in parallel, and reading it as memory-mapped shards."""
