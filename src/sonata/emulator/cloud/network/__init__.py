"""Networks, ports, routers, security groups and service function chains of one cloud."""
