"""Script: free-form Ray code inside its placement group."""
