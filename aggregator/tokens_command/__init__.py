"""`nenghao tokens`: who may use the API, and what they wrote."""
