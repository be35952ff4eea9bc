"""Nouns, operations, the engine, meters and budgets."""
