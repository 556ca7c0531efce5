"""Conversions between ROS messages, NumPy arrays and the results of the pipeline."""
