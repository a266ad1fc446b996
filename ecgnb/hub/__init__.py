"""Downloads: one resumable HTTP downloader, and the Hugging Face hub."""
