"""Training: what all runs share, fine-tuning, distillation and quantization-aware training."""
