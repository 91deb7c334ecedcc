"""What demonstrations share: their examples, users that fetch, and following what the platform does."""

from sonata.sdk.demonstration.fetching import Fetch, fetch
from sonata.sdk.demonstration.stage import Say, example_folder, follow, image_recipes

__all__ = ["Fetch", "Say", "example_folder", "fetch", "follow", "image_recipes"]
