"""Vision: image classification with fully connected, convolutional and torchvision's nets."""
