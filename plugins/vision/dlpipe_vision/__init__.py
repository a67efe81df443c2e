"""The vision plugin: images and what is learned from them."""
