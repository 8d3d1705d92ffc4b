"""Parts that transformers' models do not have: written down in the model's config, put in again when it is loaded."""
