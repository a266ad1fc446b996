"""Training, validation and test splits: stratified by class, grouped by patient."""
