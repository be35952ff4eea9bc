"""Collections on Milvus."""
