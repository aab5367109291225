"""Pets found and named: segmentation and classification with one encoder. Runs in: worker."""
