"""Results for people: figures and tables. Nothing is computed here that a result does not already hold."""
