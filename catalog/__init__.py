"""What is offered for training: families, base models, methods, hyperparameters, and the registry of
results."""
