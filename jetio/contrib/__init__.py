"""Well-kept libraries behind our principals and policies; each needs its own extra."""
