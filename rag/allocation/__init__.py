"""The compute-allocation model: what was measured, what is predicted, what to use for a budget."""
