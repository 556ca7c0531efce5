"""Images, videos and cameras: reading, writing, drawing, records."""
