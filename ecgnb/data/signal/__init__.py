"""Signal processing of one recording: leads, resampling, filters, quality checks."""
