"""The Load Balancer API v2 (Octavia)."""
