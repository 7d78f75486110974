"""`nenghao factors`: look at factor and tariff tables, and apply changed ones to stored figures."""
