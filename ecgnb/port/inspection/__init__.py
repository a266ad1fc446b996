"""Show a Keras file as a table, also of a model that cannot be ported."""
