"""Where images and features come from, one file a source."""
