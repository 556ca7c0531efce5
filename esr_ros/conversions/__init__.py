"""Between ROS messages and NumPy arrays."""
