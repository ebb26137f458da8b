"""Records into topics, in transactions or without one."""
