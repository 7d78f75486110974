"""Dashboards and alert rules as code: rendered to JSON and YAML that Grafana 12 reads."""
