"""Retrieval-augmented generation and reasoning, metered."""
