"""`nenghao close`."""
