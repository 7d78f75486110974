"""`nenghao profiles`."""
