"""H&E to multiplexed fluorescence, patch by patch. Runs in: worker."""
