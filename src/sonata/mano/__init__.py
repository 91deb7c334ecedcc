"""The service platform: onboarding, catalogue, life cycle, placement, managers."""
