"""The dashboard: web pages and a JSON API that show what the commands show."""
