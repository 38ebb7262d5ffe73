"""Fine-tuning: pipeline, optimizer, callbacks, the run."""
