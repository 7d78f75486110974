"""What is true about the city: sites and meters as dated rows, and what a site consumes."""
