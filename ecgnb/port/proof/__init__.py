"""A port against what Keras computes, and the likely cause where they differ."""
