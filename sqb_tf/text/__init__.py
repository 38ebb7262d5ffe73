"""Text to ids: vocabulary, WordPiece, truncation, padding."""
