"""Reader, writer and recovery of rosbag2 files."""
