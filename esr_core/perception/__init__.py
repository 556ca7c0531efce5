"""Per frame, with NumPy and OpenCV only: detection, tracking, preprocessing, smoothing, events."""
