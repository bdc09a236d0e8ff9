"""Many runs from one file: expanded, checked, spread over processes, put into one table."""
