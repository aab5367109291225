"""Waste sorted into thirty classes. Runs in: worker."""
