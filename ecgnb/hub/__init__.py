"""One resumable, checksummed downloader, and sessions with model hubs."""
