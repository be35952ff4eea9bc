"""Vector indexes that are searched on GPUs."""
