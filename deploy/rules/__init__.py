"""Alerts and recording rules as data; every file that an operator loads is rendered from them."""
