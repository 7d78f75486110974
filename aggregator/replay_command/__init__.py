"""`nenghao replay`."""
