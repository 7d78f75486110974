"""`nenghao prove`."""
