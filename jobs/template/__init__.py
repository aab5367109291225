"""The smallest job: copy this folder to begin your own. Runs in: worker."""
