"""Super-resolution of Sentinel-2 patches. Runs in: worker."""
