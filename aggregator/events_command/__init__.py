"""`nenghao events`: a thin client of the aggregator's API."""
