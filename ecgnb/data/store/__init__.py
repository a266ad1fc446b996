"""Signal store: parallel, resumable preparation; reading memory-mapped shards."""
