"""Writes records to topics, in transactions or without them."""
