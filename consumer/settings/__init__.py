"""What can be set, where a value comes from, and what is said of a wrong one."""
