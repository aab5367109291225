"""Grafana dashboards as code; the JSON that Grafana loads is generated from them."""
