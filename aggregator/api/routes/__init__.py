"""One module per resource: parse, call, shape."""
