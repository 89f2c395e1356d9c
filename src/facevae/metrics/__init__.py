"""How good a set of weights is: arrays in, figures with their standard errors out."""
