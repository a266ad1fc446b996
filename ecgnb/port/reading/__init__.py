"""What a Keras file tells: containers, graph, weights."""
