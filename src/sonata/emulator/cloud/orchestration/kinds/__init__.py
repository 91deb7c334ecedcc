"""Types of resources: what each does in the site."""
