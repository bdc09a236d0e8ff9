"""Train, selection and test, cut without splitting a group."""
