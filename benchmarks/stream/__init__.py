"""How many texts a second a worker takes from Kafka, and what others take."""
