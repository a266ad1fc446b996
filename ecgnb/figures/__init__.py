"""All drawing: style, ECG paper, plots, attributions, the HTML report."""
