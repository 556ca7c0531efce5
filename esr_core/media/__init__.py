"""Images, videos and cameras: readers, writers, drawing and records."""
