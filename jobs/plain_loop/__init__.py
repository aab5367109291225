"""A job with a training loop of its own. Runs in: worker."""
