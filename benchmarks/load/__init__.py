"""What a serving benchmark is made of: models, servers, and a client that is not in the way."""
