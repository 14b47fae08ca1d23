"""Programs to learn from: python -m examples.distill_your_models and so on."""
