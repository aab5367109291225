"""What operators need. Runs in: anywhere."""
