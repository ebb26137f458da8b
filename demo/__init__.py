"""The demo: four domains of reviews, two workers, one exit learnt per domain."""
