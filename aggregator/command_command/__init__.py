"""`nenghao command`: a thin client of the aggregator's API."""
