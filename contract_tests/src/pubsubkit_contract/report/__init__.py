"""The report of a contract run: its data, and the forms in which it is shown."""
