"""The document question-answering service: an HTTP API, its page, and an MCP server."""
