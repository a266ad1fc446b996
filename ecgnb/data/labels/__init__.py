"""Labels: mapping files to classes, and assigning them to recordings."""
