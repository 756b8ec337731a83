"""What programs ask about base models and published models."""
