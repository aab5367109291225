"""3-D surface segmentation of scroll CT. Runs in: worker."""
