"""A Keras file as a table, also of models that cannot be ported."""
