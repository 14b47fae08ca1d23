"""Reports: what a run leaves for people, and a page about finished runs."""
