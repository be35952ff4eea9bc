"""Rerankers: programs that put what a retriever found into a better order."""
