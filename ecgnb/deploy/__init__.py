"""From a trained run to predictions."""
