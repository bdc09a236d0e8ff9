"""What a run tells: progress on the way, a table and files in the end."""
