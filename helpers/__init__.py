"""What a student imports: data, models, plots, hints and checks."""
