"""Training: which frames a step sees, the optimiser, the loop, validation, and the folder a run keeps."""
