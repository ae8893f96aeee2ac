"""Where do bytes lie that are named by their digest? Adapters of the ObjectStore port."""
