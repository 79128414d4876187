"""What has to be there before, and outlive, what depends on it."""
